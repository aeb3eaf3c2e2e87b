/** A machine with our agent in it: commands are run there one after the other, and the whole machine can be saved and cut. */
import { readFileSync, readdirSync } from "node:fs";
import { Machine, type MachineOptions, type SavedMachine, scriptsArchive } from "./machine.ts";

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

type Request =
  | { readonly sh: string }
  | { readonly name: string; readonly args: readonly string[] }
  | { readonly load: readonly string[] }
  | { readonly module: string; readonly call: string; readonly argument: unknown }
  | { readonly end: true };

interface Answer extends Partial<CommandResult> {
  /** The agent itself failed. */
  readonly error?: string;
  /** What a called function gave. */
  readonly value?: unknown;
}

export type GuestOptions = Omit<MachineOptions, "script" | "withApp"> & {
  /** Run before the agent starts: modules, mounts. */
  readonly before?: string;
};

/** How often a request is repeated until it is answered. */
const REPEAT_MS = 1000;

/** Our modules that run in the machine; `/lab` has no package.json, so their names say what they are. */
function insideModules(): Record<string, string> {
  const folder = new URL("./inside/", import.meta.url);
  return Object.fromEntries(
    readdirSync(folder).map((name) => [name.replace(/\.js$/, ".mjs"), readFileSync(new URL(name, folder), "utf8")]),
  );
}

function machineOptions(options: GuestOptions): MachineOptions {
  const { before = "", files, ...rest } = options;
  return {
    ...rest,
    withApp: true,
    // Messages of the kernel would come between the agent's answers; dmesg keeps them.
    script: `set -e\ndmesg -n 1\n${before}\nstty -F /dev/ttyS0 raw -echo\nnode /lab/agent.mjs || test -f /tmp/ended\n`,
    files: { ...files, ...insideModules() },
  };
}

export class Guest {
  readonly machine: Machine;
  readonly #firstId: number;
  #count = 0;
  #answered = false;

  private constructor(machine: Machine, firstId: number) {
    this.machine = machine;
    this.#firstId = firstId;
  }

  /** Boots a machine; gives it when the agent answers. */
  static async boot(options: GuestOptions): Promise<Guest> {
    const guest = new Guest(new Machine(machineOptions(options)), 1);
    await guest.sh("true");
    return guest;
  }

  /**
   * Boots a machine, lets `prepare` run in it, saves it to `state` and ends it. {@link Guest.restore} goes on from there any
   * number of times, with whatever its disks hold by then: it must not have opened them before.
   */
  static async save(
    options: GuestOptions,
    state: string,
    prepare: (guest: Guest) => Promise<void>,
  ): Promise<SavedMachine> {
    const scripts = `${state}.scripts.tar`;
    const whole = machineOptions(options);
    scriptsArchive(scripts, whole);
    const first = new Guest(new Machine(whole), 1);
    await first.sh("true");
    await prepare(first);
    await first.machine.save(state);
    return { state, scripts };
  }

  static async restore(options: GuestOptions, saved: SavedMachine): Promise<Guest> {
    // Numbers far from those the saved agent has answered.
    const guest = new Guest(new Machine(machineOptions(options), saved), 1_000_000);
    await guest.sh("true");
    return guest;
  }

  async #ask(request: Request): Promise<Answer> {
    const id = this.#firstId + this.#count++;
    const text = JSON.stringify({ id, ...request });
    const ask = (): void => this.machine.send(`\n${text}`);
    ask();
    const again = setInterval(ask, REPEAT_MS);
    try {
      return await this.machine.until(`it answered ${text.slice(0, 300)}`, (output) => {
        const line = new RegExp(`^@${id} (.*)$`, "m").exec(output)?.[1];
        if (line === undefined) return undefined;
        try {
          return JSON.parse(line) as Answer;
        } catch {
          return undefined; // still coming
        }
      });
    } finally {
      clearInterval(again);
    }
  }

  async #result(request: Request, what: string, expected: number | "any"): Promise<CommandResult> {
    const answer = await this.#ask(request);
    if (answer.error !== undefined) throw new Error(`${what}: ${answer.error}`);
    const result = answer as CommandResult;
    if (expected !== "any" && result.code !== expected) {
      throw new Error(`${what}\nended with ${result.code}, expected ${expected}\n${result.out}\n${result.err}`);
    }
    return result;
  }

  /** Runs a shell script. @throws when its exit code is another one */
  sh(script: string, expected: number | "any" = 0): Promise<CommandResult> {
    return this.#result({ sh: script }, script, expected);
  }

  /** Runs a command of ours in the agent's process. @throws when its exit code is another one */
  command(name: string, args: readonly string[], expected: number | "any" = 0): Promise<CommandResult> {
    return this.#result({ name, args }, `${name} ${args.join(" ")}`, expected);
  }

  /** Starts a command and does not wait for its end: the power is going to be cut. */
  begin(name: string, args: readonly string[]): void {
    this.#answered = false;
    void this.#ask({ name, args }).then(
      () => void (this.#answered = true),
      () => undefined,
    );
  }

  /** Whether what {@link Guest.begin} started has ended. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Loads commands, so that a cut falls into the update and not into the loading. */
  async load(...names: string[]): Promise<void> {
    await this.#ask({ load: names });
  }

  /** Calls a function of a module in the machine. */
  async call<T>(module: string, call: string, argument: unknown): Promise<T> {
    const answer = await this.#ask({ module, call, argument });
    if (answer.error !== undefined) throw new Error(`${call}: ${answer.error}`);
    return answer.value as T;
  }

  /** Ends the agent; the machine's disks are flushed and it powers off. */
  async end(): Promise<void> {
    await this.#ask({ end: true }).catch(() => undefined);
    await this.machine.done();
  }

  /** The power cut. */
  async kill(): Promise<void> {
    await this.machine.kill();
  }
}
