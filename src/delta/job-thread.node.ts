/** A thread that does one job after the other, each of which gives bytes: both ends of it. */
import { parentPort, Worker } from "node:worker_threads";
import { isOtaError, OtaError, type ErrorCode, type ErrorDetails } from "../core/errors.ts";

interface Reply {
  readonly bytes?: Uint8Array;
  readonly error?: { readonly message: string; readonly code?: ErrorCode; readonly details?: ErrorDetails };
}

function errorOf({ message, code, details }: NonNullable<Reply["error"]>): Error {
  return code === undefined || details === undefined ? new Error(message) : new OtaError(code, details);
}

/** The caller's end. The thread begins with its first job or with {@link start}. */
export class JobThread<Job> {
  readonly #file: URL;
  readonly #data: unknown;
  #worker: Worker | undefined;

  /** @param file the thread's module, which calls {@link answerJobs}; `data` becomes its `workerData` */
  constructor(file: URL, data?: unknown) {
    this.#file = file;
    this.#data = data;
  }

  /** Begins the thread, unless it runs. One that ended by itself (memory ran out) begins anew. */
  start(): Worker {
    if (this.#worker === undefined) {
      // Without the program's own options: some (`--input-type`) end a thread before it has begun.
      const worker = new Worker(this.#file, { workerData: this.#data, execArgv: [] });
      worker.unref();
      // One that fails before it has a job is begun anew with the first, which is told.
      worker.on("error", () => undefined);
      worker.once("exit", () => {
        if (this.#worker === worker) this.#worker = undefined;
      });
      this.#worker = worker;
    }
    return this.#worker;
  }

  /** Does one job; the caller gives a thread one at a time. The memory of `moved` goes to the thread, everything else is copied. */
  async run(job: Job, moved: readonly Uint8Array[]): Promise<Uint8Array> {
    const worker = this.start();
    worker.ref();
    let forget = (): void => undefined;
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        const ended = (): void => {
          reject(new Error("the thread has ended"));
        };
        const answered = ({ bytes, error }: Reply): void => {
          if (bytes === undefined) reject(errorOf(error ?? { message: "a thread gave nothing" }));
          else resolve(bytes);
        };
        worker.on("error", reject).on("exit", ended).on("message", answered);
        forget = () => {
          worker.off("error", reject).off("exit", ended).off("message", answered);
        };
        worker.postMessage(job, moved.map((bytes) => bytes.buffer) as ArrayBuffer[]);
      });
    } finally {
      forget();
      // The program may end while a thread nobody ended is idle.
      worker.unref();
    }
  }

  async end(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }
}

/** The thread's end: answers each job with what `bytesOf` gives, memory of its own that is moved to the caller. */
export function answerJobs<Job>(bytesOf: (job: Job) => Promise<Uint8Array>): void {
  const answer = async (job: Job): Promise<Reply> => {
    try {
      return { bytes: await bytesOf(job) };
    } catch (e) {
      const message = e instanceof Error ? e.message : String(e);
      return { error: isOtaError(e) ? { message, code: e.code, details: e.details } : { message } };
    }
  };
  parentPort?.on("message", (job: Job) => {
    void answer(job).then((reply) => {
      parentPort?.postMessage(reply, reply.bytes === undefined ? [] : [reply.bytes.buffer as ArrayBuffer]);
    });
  });
}
