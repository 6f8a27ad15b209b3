import { Worker } from 'node:worker_threads';

/** Answers questions on the other thread: one answer each, in their order; an Error for one that has none. */
export type Answers<Question, Answer> = (questions: readonly Question[]) => readonly (Answer | Error)[];

interface Waiting<Answer> {
  resolve(answer: Answer): void;
  reject(why: Error): void;
}

/** A function that another thread takes over as text: it sees nothing of its file. */
export type Part = (...given: never[]) => unknown;

/** What the other thread is made from. */
export interface Program<Question, Answer> {
  /** How it imports the one of node's modules that it works with: `import('node:…')`; of several, a promise of them. */
  readonly module: string;
  /**
   * Makes what answers, from the module, the data and the parts. It is taken over as text, so it sees nothing of its file but
   * what it is given. What it throws while it answers ends the thread, and refuses all that was asked of it.
   */
  readonly work: (module: never, data: never, ...parts: never[]) => Answers<Question, Answer>;
  /** Functions that it works with. They are taken over in the same way. */
  readonly parts?: readonly Part[];
  /** What it is made for; goes there as a copy. */
  readonly data?: unknown;
  /**
   * Most questions that are answered together, whether they were asked at one time or one after another: who asked first need
   * not wait for all of them. Those that were asked at one time if not given.
   */
  readonly together?: number;
  /** The thread has ended: what it was told is forgotten. What is asked next starts another. */
  readonly onEnd?: () => void;
}

/**
 * Another thread of this process. All that is asked for in one turn of the event loop goes there together: to wake a thread
 * puts this one to sleep where there are few cores, which takes longer than most questions. It starts with the first one.
 * Bytes are best asked about as strings of one character a byte, which are handed over in a tenth of the time.
 */
export class OtherThread<Question, Answer> {
  readonly #start: () => Worker;
  readonly #onEnd: () => void;
  #worker: Worker | undefined;
  /** What goes there with the end of this turn, and who asked. */
  #questions: Question[] = [];
  #asking: Waiting<Answer>[] = [];
  /** Whose questions are there, in the order of the answers to come. */
  #asked: Waiting<Answer>[] = [];
  #isClosed = false;

  constructor(program: Program<Question, Answer>) {
    const { module, work, parts = [], data, together, onEnd = () => {} } = program;
    this.#onEnd = onEnd;
    // From its text: a file of its own would have to be found wherever this one was bundled to.
    const answers = `(${work})(${['module', 'threads.workerData', ...parts.map((part) => `(${part})`)].join(', ')})`;
    const text = `Promise.all([import('node:worker_threads'), ${module}])
      .then(([threads, module]) => (${serve})(threads, ${answers}, ${together}))`;
    this.#start = () => new Worker(text, { eval: true, workerData: data });
  }

  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(ended());
        return;
      }
      if (this.#asking.length === 0) setImmediate(() => this.#send());
      this.#questions.push(question);
      this.#asking.push({ resolve, reject });
    });
  }

  /** Ends the thread for good. What was asked for is refused, and what is asked from now on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#worker === undefined) this.#ended(undefined, ended());
    else await this.#worker.terminate();
  }

  #send(): void {
    // All of it was refused meanwhile, with the thread that it was for.
    if (this.#questions.length === 0) return;
    try {
      this.#worker ??= this.#started();
      this.#worker.postMessage(this.#questions);
    } catch (error) {
      this.#giveUp(this.#worker, error);
      return;
    }
    this.#asked.push(...this.#asking);
    this.#questions = [];
    this.#asking = [];
  }

  #started(): Worker {
    const worker = this.#start();
    worker.on('message', (answers: readonly (Answer | Error)[]) => {
      // What a thread says that was given up answers nothing that was asked of another.
      if (this.#worker !== worker) return;
      const waiting = this.#asked;
      this.#asked = waiting.slice(answers.length);
      for (let i = 0; i < answers.length; i++) {
        const answer = answers[i] as Answer | Error;
        if (answer instanceof Error) waiting[i]?.reject(answer);
        else waiting[i]?.resolve(answer);
      }
    });
    worker.on('error', (error) => this.#ended(worker, error));
    worker.on('messageerror', (error) => this.#giveUp(worker, error));
    worker.on('exit', () => this.#ended(worker, ended()));
    // After who listens: to listen for its messages keeps the process alive again.
    worker.unref();
    return worker;
  }

  /** After a message that was lost on the way the answers are in other places than their questions. */
  #giveUp(worker: Worker | undefined, why: unknown): void {
    this.#ended(worker, why instanceof Error ? why : new Error(String(why)));
    void worker?.terminate();
  }

  #ended(worker: Worker | undefined, why: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const waiting = [...this.#asked.splice(0), ...this.#asking.splice(0)];
    this.#questions = [];
    this.#onEnd();
    for (const { reject } of waiting) reject(why);
  }
}

function ended(): Error {
  return new Error('the other thread ended');
}

/** What each of these threads does. It is taken over as text, too. */
function serve(
  threads: typeof import('node:worker_threads'),
  answersTo: Answers<unknown, unknown>,
  together: number | undefined,
): void {
  const { parentPort: port, receiveMessageOnPort } = threads;
  port?.on('message', (first: unknown[]) => {
    const questions = first;
    const most = together ?? questions.length;
    while (questions.length < most) {
      const next = receiveMessageOnPort(port);
      if (next === undefined) break;
      questions.push(...next.message);
    }
    for (let from = 0; from < questions.length; from += most) {
      const some = questions.slice(from, from + most);
      const answers = answersTo(some);
      // Each answer goes to whoever asked in its place: one too few, and all that follow would be those of others.
      if (answers.length !== some.length) throw new Error('there is not one answer for each question');
      port.postMessage(answers);
    }
  });
  port?.on('messageerror', (error) => {
    throw error;
  });
}
