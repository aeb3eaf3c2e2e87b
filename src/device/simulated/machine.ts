/** The simulated machine: media, the log of what was written, and the faults it was told to have. */
import { OtaError } from "../../core/index.ts";
import type { Loss, Medium, Unflushed } from "./medium.ts";
import type { SimulatedWrite, WriteRequest } from "./operations.ts";
import { Random } from "./random.ts";

/** All media of a device. */
export class World {
  readonly media: readonly Medium[];

  constructor(media: readonly Medium[]) {
    this.media = media;
  }

  apply(op: SimulatedWrite): void {
    (this.media[op.medium] as Medium).apply(op);
  }

  fork(): World {
    return new World(this.media.map((medium) => medium.fork()));
  }

  /** The power goes and comes back; `torn` was under way. */
  lose({ torn, ...loss }: Loss): void {
    this.media.forEach((medium, index) => {
      medium.lose(torn?.medium === index ? { ...loss, torn } : loss);
    });
  }
}

/** A power cut to come: at which write (0 is the first one from now on), where in it, and what becomes of unflushed writes. */
export interface PowerCut {
  readonly write: number;
  readonly phase: "before" | "torn" | "after";
  readonly unflushed: Unflushed;
  readonly seed: number;
}

export interface WriteFault {
  readonly code: "DEVICE_IO" | "DEVICE_NO_SPACE" | "DEVICE_READ_ONLY";
  /** Every later write to the same medium fails, too: a dead disk, a full file system. */
  readonly lasting: boolean;
}

const FAULT_TEXT = {
  DEVICE_IO: "simulated input or output error",
  DEVICE_NO_SPACE: "simulated full medium",
  DEVICE_READ_ONLY: "simulated read-only medium",
} as const;

export class Machine {
  readonly world: World;
  /** Writes so far; kept only when asked, a rehearsal's reruns do not need it. */
  readonly log: SimulatedWrite[] | undefined;
  /** Number of writes so far, flushes and renames included. */
  writes = 0;
  /** Numbers of writes that changed something, by medium: flushes do not. */
  readonly changes = new Map<number, number>();
  #timeMs: number;
  #cut: PowerCut | undefined;
  #loss: Loss | undefined;
  readonly #faults = new Map<number, WriteFault>();
  readonly #dead = new Map<number, WriteFault>();
  readonly #unreadable = new Set<string>();

  constructor(world: World, options: { readonly keepLog: boolean; readonly timeMs: number }) {
    this.world = world;
    this.log = options.keepLog ? [] : undefined;
    this.#timeMs = options.timeMs;
  }

  get timeMs(): number {
    return this.#timeMs;
  }

  get isOff(): boolean {
    return this.#loss !== undefined;
  }

  /** @throws OtaError DEVICE_POWER_CUT when the power is off */
  check(): void {
    if (this.#loss !== undefined) throw new OtaError("DEVICE_POWER_CUT", "the simulated power was cut");
  }

  checkRead(where: string): void {
    this.check();
    if (this.#unreadable.has(where)) throw new OtaError("DEVICE_IO", { what: "simulated read error", where });
  }

  failReads(where: string): void {
    this.#unreadable.add(where);
  }

  armCut(cut: PowerCut): void {
    this.#cut = { ...cut, write: cut.write + this.writes };
  }

  armFault(write: number, fault: WriteFault): void {
    this.#faults.set(write + this.writes, fault);
  }

  /** Does one write, unless the power goes or the medium fails. */
  perform(request: WriteRequest): void {
    this.check();
    const index = this.writes++;
    this.#timeMs++;
    const op: SimulatedWrite = { ...request, timeMs: this.#timeMs };
    const cut = this.#cut?.write === index ? this.#cut : undefined;
    if (cut !== undefined && cut.phase !== "after") this.powerOff(cut, cut.phase === "torn" ? op : undefined);
    this.#fail(index, op);
    this.log?.push(op);
    if (op.kind !== "flush" && op.kind !== "sync-file" && op.kind !== "sync-folder") {
      this.changes.set(op.medium, (this.changes.get(op.medium) ?? 0) + 1);
    }
    this.world.apply(op);
    if (cut !== undefined) this.powerOff(cut);
  }

  #fail(index: number, op: SimulatedWrite): void {
    const fault = this.#faults.get(index) ?? this.#dead.get(op.medium);
    if (fault === undefined) return;
    if (fault.lasting) this.#dead.set(op.medium, fault);
    throw new OtaError(fault.code, { what: FAULT_TEXT[fault.code], where: op.where });
  }

  /** The power goes now. Nothing but {@link Machine.lost} works any more. @throws OtaError DEVICE_POWER_CUT */
  powerOff(cut: Pick<PowerCut, "unflushed" | "seed">, torn?: SimulatedWrite): never {
    this.#loss = {
      unflushed: cut.unflushed,
      random: new Random(cut.seed),
      ...(torn === undefined ? {} : { torn }),
    };
    this.check();
    throw new Error("unreachable");
  }

  /** What the media hold after the power cut (or after one now, with everything unflushed lost). */
  lost(): World {
    const world = this.world.fork();
    world.lose(this.#loss ?? { unflushed: "dropped", random: new Random(0) });
    return world;
  }
}
