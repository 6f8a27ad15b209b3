/** Stands in for Node's part that starts programs, for who never does: loading it is a tenth of a start. */
export default {
  spawn(): never {
    throw new Error('no command here is a program of its own');
  },
};
