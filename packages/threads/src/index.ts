export { type Answers, OtherThread } from './other-thread.ts';
