/** Lanes on threads of their own, which share one memory with the caller's core. */
import { Worker } from "node:worker_threads";
import type { Lane, Machine } from "./bsdiff40/lanes.ts";
import type { Core, CoreCall } from "./core-calls.ts";
import { compileCore, createMemory, createWasmCore, type WasmMemory, type WasmModule } from "./core.node.ts";
import type { LaneMessage, LaneReply } from "./lane-worker.node.ts";

/** One thread. */
class LaneThread implements Lane {
  // Without the program's own options: some (`--input-type`) end a thread before it has begun.
  readonly #worker = new Worker(new URL("./lane-worker.node.js", import.meta.url), { execArgv: [] });
  readonly #waiting = new Map<number, { resolve: (n: number) => void; reject: (e: Error) => void }>();
  #nextId = 0;
  #failure: Error | undefined;
  readonly begun: Promise<void>;

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
  readonly #bytes: Uint8Array;
  #module: WasmModule | undefined;
  readonly #jobs: number;
  #memory: WasmMemory | undefined;
  #core: Core | undefined;
  #threads: LaneThread[] = [];
  readonly lanes: readonly Lane[];

  /** @param core the compiled core; @param jobs threads, at least 1; they begin with the first patch or with {@link start} */
  constructor(core: Uint8Array, jobs: number) {
    this.#bytes = core;
    this.#jobs = jobs;
    this.lanes = Array.from({ length: jobs }, (_, i) => ({
      call: (call: CoreCall) => (this.#threads[i] as LaneThread).call(call),
    }));
  }

  /** Begins the threads, unless they run. */
  start(): void {
    if (this.#threads.length === 0) this.#threads = Array.from({ length: this.#jobs }, () => new LaneThread());
  }

  /** Begins the threads and compiles the core: to be waited for before {@link core} is called. */
  async ready(): Promise<this> {
    this.start();
    // Not before: see compileCore.
    await Promise.all(this.#threads.map((thread) => thread.begun));
    this.#module ??= compileCore(this.#bytes);
    return this;
  }

  core(size: number): Core {
    const module = this.#module;
    if (module === undefined) throw new Error("the threads are not ready");
    if (this.#memory === undefined || this.#memory.buffer.byteLength < size || this.#core === undefined) {
      const memory = createMemory(size);
      this.#memory = memory;
      this.#core = createWasmCore(module, memory);
      for (const thread of this.#threads) thread.use(module, memory);
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
