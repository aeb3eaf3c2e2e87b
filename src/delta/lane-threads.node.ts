/** Lanes on threads of their own, which share one memory with the caller's core. */
import { Worker } from "node:worker_threads";
import type { Lane, Machine } from "./bsdiff40/lanes.ts";
import type { Core, CoreCall } from "./core-calls.ts";
import { createMemory, createWasmCore, optimizeCores, type WasmMemory, type WasmModule } from "./core.node.ts";
import type { LaneMessage, LaneReply } from "./lane-worker.node.ts";

/** One thread. Core calls wait until it and its `companions` have begun. */
class LaneThread implements Lane {
  readonly #worker = new Worker(new URL("./lane-worker.node.js", import.meta.url));
  readonly #waiting = new Map<number, { resolve: (n: number) => void; reject: (e: Error) => void }>();
  #nextId = 0;
  #failure: Error | undefined;
  /** Fulfilled when the thread takes calls. */
  readonly begun: Promise<void>;
  /** What calls wait for. */
  ready: Promise<void>;

  constructor() {
    this.begun = new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        this.#failure = error;
        reject(error);
        for (const waiting of this.#waiting.values()) waiting.reject(error);
        this.#waiting.clear();
      };
      this.#worker.on("message", (message: LaneReply) => {
        if (message === "begun") resolve();
        else this.#answer(message);
        // The program may end while an engine nobody closed is idle.
        if (this.#waiting.size === 0) this.#worker.unref();
      });
      this.#worker.on("error", fail);
      this.#worker.on("exit", () => {
        fail(new Error("the worker thread has ended"));
      });
    });
    this.begun.catch(() => undefined);
    this.ready = this.begun;
  }

  #answer(message: Exclude<LaneReply, "begun">): void {
    const request = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if ("result" in message) request?.resolve(message.result);
    else request?.reject(new Error(message.error));
  }

  #post(message: LaneMessage): void {
    this.#worker.postMessage(message);
  }

  /** Makes the thread work on another core. */
  use(module: WasmModule, memory: WasmMemory): void {
    this.#post({ module, memory });
  }

  async call(call: CoreCall): Promise<number> {
    await this.ready;
    if (this.#failure !== undefined) throw this.#failure;
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) this.#worker.ref();
      this.#waiting.set(this.#nextId, { resolve, reject });
      this.#post({ id: this.#nextId++, call });
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Threads and their memory, which is made anew when a patch needs more than there is. */
export class LaneThreads implements Machine {
  readonly #module: WasmModule;
  readonly #jobs: number;
  #memory: WasmMemory | undefined;
  #core: Core | undefined;
  #threads: LaneThread[] = [];
  readonly lanes: readonly Lane[];

  /** @param jobs threads, at least 1; they begin with the first patch or with {@link start} */
  constructor(module: WasmModule, jobs: number) {
    this.#module = module;
    this.#jobs = jobs;
    this.lanes = Array.from({ length: jobs }, (_, i) => ({
      call: (call: CoreCall) => (this.#threads[i] as LaneThread).call(call),
    }));
  }

  /** Begins the threads, unless they run. */
  start(): void {
    if (this.#threads.length > 0) return;
    // With flags of its own V8 does not take Node's modules from its cache: a thread would begin in 75 ms instead of 40.
    optimizeCores(false);
    this.#threads = Array.from({ length: this.#jobs }, () => new LaneThread());
    const ready = Promise.all(this.#threads.map((thread) => thread.begun)).then(() => {
      optimizeCores(true);
    });
    ready.catch(() => undefined);
    for (const thread of this.#threads) thread.ready = ready;
  }

  core(size: number): Core {
    this.start();
    if (this.#memory === undefined || this.#memory.buffer.byteLength < size || this.#core === undefined) {
      const memory = createMemory(size);
      this.#memory = memory;
      this.#core = createWasmCore(this.#module, memory);
      for (const thread of this.#threads) thread.use(this.#module, memory);
    }
    return this.#core;
  }

  /** Bytes of the memory. */
  get memorySize(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  async end(): Promise<void> {
    const threads = this.#threads;
    this.#threads = [];
    this.#memory = undefined;
    this.#core = undefined;
    await Promise.all(threads.map((thread) => thread.end()));
  }
}
