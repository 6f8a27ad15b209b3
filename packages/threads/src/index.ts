export { type Answers, OtherThread, type Part } from './other-thread.ts';
