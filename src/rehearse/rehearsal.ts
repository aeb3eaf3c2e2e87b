/**
 * The power-cut rehearsal. The installer runs once on the whole; from the log of that run the device is made as it would be after
 * a cut at any write, without running the installer up to there again, and only the restart runs. A fork of a device costs
 * microseconds, so a thousand cuts a second are real reruns of the real installer.
 */
import { OtaError, isOtaError } from "../core/index.ts";
import type { Device } from "../core/index.ts";
import {
  ExpectedContent,
  Random,
  describeWrite,
  mediumNames,
  mixSeed,
  reviveDevice,
  worldOf,
} from "../device/simulated/index.ts";
import type { SimulatedDevice, SimulatedWrite, World, WriteFault } from "../device/simulated/index.ts";
import { CUT_KINDS, formatCuts, kindsOf } from "./cuts.ts";
import type { Cut, CutKind } from "./cuts.ts";
import type { WritePlan } from "./plan.ts";
import type { Ending, RehearsalSubject, RunResult } from "./subject.ts";

/** The first thing that went wrong, with what reproduces it. */
export interface BrokenStep {
  /** The chain of cuts (or the fault), as `--only` takes it. */
  readonly cut: string;
  readonly seed: number;
  /** The write at which the first cut came. */
  readonly write: string;
  /** Number of that write and how many there were. */
  readonly index: number;
  readonly count: number;
  readonly reason: string;
}

/** Counts of a part of a rehearsal. `cuts` = `endedOld` + `endedNew` + `resumed` + broken cuts. */
export interface Tally {
  cuts: number;
  endedOld: number;
  endedNew: number;
  resumed: number;
  /** Broken cuts and broken faults. */
  broken: number;
  /** Cuts that came while an interrupted installation was being repeated. */
  repeatedCuts: number;
  /** Runs with an input or output error or a full medium instead of a cut. */
  faults: number;
  firstBroken?: BrokenStep;
}

export function emptyTally(): Tally {
  return { cuts: 0, endedOld: 0, endedNew: 0, resumed: 0, broken: 0, repeatedCuts: 0, faults: 0 };
}

/** Adds `part` to `sum`; the broken step of the earlier write stays the first. */
export function addTally(sum: Tally, part: Tally): void {
  for (const key of ["cuts", "endedOld", "endedNew", "resumed", "broken", "repeatedCuts", "faults"] as const) {
    sum[key] += part[key];
  }
  const [a, b] = [sum.firstBroken, part.firstBroken];
  if (b !== undefined && (a === undefined || b.index < a.index)) sum.firstBroken = b;
}

/** Goes through a log and makes the device after a cut at each place. Places must not go back. */
class LogWalker {
  readonly #world: World;
  readonly #log: readonly SimulatedWrite[];
  #done = 0;

  constructor(start: World, log: readonly SimulatedWrite[]) {
    this.#world = start.fork();
    this.#log = log;
  }

  after({ write, kind }: Cut, seed: number): World {
    const { phase, unflushed } = CUT_KINDS[kind] as CutKind;
    for (; this.#done < write; this.#done++) this.#world.apply(this.#log[this.#done] as SimulatedWrite);
    const world = this.#world.fork();
    const torn = this.#log[write];
    if (phase === "after" && torn !== undefined) world.apply(torn);
    const random = new Random(seed);
    world.lose(phase === "torn" && torn !== undefined ? { unflushed, random, torn } : { unflushed, random });
    return world;
  }
}

function bugText(e: unknown): string {
  return e instanceof Error ? `${e.name}: ${e.message}` : "it throws something that is no error";
}

interface Rerun extends RunResult {
  readonly device: SimulatedDevice;
}

/** A subject whose clean run is known. One a thread. */
export class Rehearsal {
  readonly #subject: RehearsalSubject;
  readonly #seed: number;
  readonly #first: SimulatedDevice;
  readonly #clean: SimulatedDevice;
  readonly #start: World;
  readonly #judge: (device: Device, result: RunResult) => Promise<Ending>;
  /** Writes of the clean run. */
  readonly log: readonly SimulatedWrite[];
  #walker: LogWalker;

  private constructor(subject: RehearsalSubject, seed: number, first: SimulatedDevice, clean: SimulatedDevice) {
    this.#subject = subject;
    this.#seed = seed;
    this.#first = first;
    this.#start = worldOf(first);
    this.#clean = clean;
    this.log = clean.log;
    this.#walker = new LogWalker(this.#start, this.log);
    this.#judge = subject.judge?.bind(subject) ?? this.#contentJudge(clean);
  }

  /** Runs the installer once on the whole. @throws OtaError REHEARSE_CLEAN_RUN when that does not succeed */
  static async prepare(subject: RehearsalSubject, seed: number): Promise<Rehearsal> {
    const first = subject.makeDevice();
    const clean = first.fork({ keepLog: true });
    try {
      await subject.install(clean);
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      throw new OtaError(
        "REHEARSE_CLEAN_RUN",
        { what: "the package does not install even without a power cut", where: e.code, found: e.message },
        e,
      );
    }
    return new Rehearsal(subject, seed, first, clean);
  }

  /** The cut after the end: success was reported, everything unflushed is lost, and the new system must be there. */
  async end(): Promise<Tally> {
    const tally = emptyTally();
    const ending = await this.#end({ device: this.#clean, succeeded: true });
    tally.cuts = 1;
    if (ending.state === "new") tally.endedNew = 1;
    else {
      const found = ending.state === "broken" ? ending.reason : "the old system is there";
      this.#noteBroken(
        tally,
        "end",
        this.log.length - 1,
        `success is reported before the new system is flushed: ${found}`,
      );
    }
    return tally;
  }

  #contentJudge(clean: SimulatedDevice): (device: Device, result: RunResult) => Promise<Ending> {
    const names = mediumNames(this.#first);
    const wantedNew = new ExpectedContent(worldOf(clean), names, this.#start);
    const wantedOld = new ExpectedContent(this.#start, names, worldOf(clean));
    return async (device, { succeeded, error }) => {
      const world = worldOf(device as SimulatedDevice);
      const fromNew = wantedNew.differs(world);
      if (fromNew === undefined) return { state: "new" };
      if (succeeded)
        return { state: "broken", reason: `success is reported, but ${fromNew} (compared with the new system)` };
      const fromOld = wantedOld.differs(world);
      if (fromOld === undefined) return { state: "old" };
      const why = isOtaError(error) ? `${error.code}: ${error.message}` : "nothing";
      return {
        state: "broken",
        reason: `neither old nor new: ${fromOld} (compared with the old system); the installer said ${why}`,
      };
    };
  }

  async #run(device: SimulatedDevice): Promise<Rerun> {
    try {
      await this.#subject.install(device);
      return { device, succeeded: true };
    } catch (error) {
      return { device, succeeded: false, error };
    }
  }

  /** Judges what a power cut right after the run would leave. */
  async #end({ device, succeeded, error }: Rerun): Promise<Ending> {
    if (error !== undefined && !(error instanceof OtaError)) {
      return { state: "broken", reason: `the installer fails with a bug: ${bugText(error)}` };
    }
    return this.#judge(device.restart(), { succeeded, ...(error === undefined ? {} : { error }) });
  }

  async #settle(tally: Tally, cuts: readonly Cut[], rerun: Rerun, bootProblem: string | undefined): Promise<void> {
    const ending: Ending =
      bootProblem === undefined ? await this.#end(rerun) : { state: "broken", reason: bootProblem };
    tally.cuts++;
    if (cuts.length > 1) tally.repeatedCuts++;
    if (ending.state === "broken") this.#noteBroken(tally, formatCuts(cuts), cuts[0]?.write ?? 0, ending.reason);
    else if (ending.state === "old") tally.endedOld++;
    else if (rerun.device.targetWrites > 0) tally.resumed++;
    else tally.endedNew++;
  }

  #noteBroken(tally: Tally, cut: string, index: number, reason: string): void {
    tally.broken++;
    const write = this.log[index];
    tally.firstBroken ??= {
      cut,
      seed: this.#seed,
      write: write === undefined ? "" : describeWrite(write),
      index,
      count: this.log.length,
      reason,
    };
  }

  /** Seed of a cut: of the rehearsal's seed and the whole chain, so that one cut can be made again alone. */
  #seedOf(cuts: readonly Cut[]): number {
    return mixSeed(this.#seed, ...cuts.flatMap(({ write, kind }) => [write, kind]));
  }

  async #restart(world: World, keepLog: boolean): Promise<{ rerun: Rerun; bootProblem: string | undefined }> {
    const bootProblem =
      this.#subject.boots === undefined
        ? undefined
        : await this.#subject.boots(reviveDevice(this.#first, world.fork(), false));
    return { rerun: await this.#run(reviveDevice(this.#first, world, keepLog)), bootProblem };
  }

  /** All that is planned for one write. Plans must come with ascending writes. */
  async rehearse(plan: WritePlan): Promise<Tally> {
    const tally = emptyTally();
    for (const kind of plan.kinds) {
      const cuts = [{ write: plan.write, kind }];
      const { rerun, bootProblem } = await this.#restart(this.#walker.after(cuts[0] as Cut, this.#seedOf(cuts)), false);
      await this.#settle(tally, cuts, rerun, bootProblem);
    }
    if (plan.deeper === "all") await this.#cutWholeRerun(tally, plan.write);
    else for (let i = 0; i < plan.deeper; i++) await this.#cutChain(tally, plan.write, i);
    if (plan.faults) await this.#fail(tally, plan.write);
    return tally;
  }

  /** The device after a chain of cuts, restarted once more with its log kept. */
  async #replay(cuts: readonly Cut[]): Promise<{ world: World; rerun: Rerun } | undefined> {
    let walker = new LogWalker(this.#start, this.log);
    for (let depth = 1; ; depth++) {
      const cut = cuts[depth - 1] as Cut;
      const world = walker.after(cut, this.#seedOf(cuts.slice(0, depth)));
      const before = world.fork();
      const { rerun } = await this.#restart(world, true);
      if (depth === cuts.length) return { world: before, rerun };
      if (rerun.device.log.length <= (cuts[depth] as Cut).write) return undefined;
      walker = new LogWalker(before, rerun.device.log);
    }
  }

  async #cutWholeRerun(tally: Tally, write: number): Promise<void> {
    const random = new Random(mixSeed(this.#seed, write, 77));
    const kinds = kindsOf(this.log[write] as SimulatedWrite);
    const first = { write, kind: kinds[random.below(kinds.length)] as number };
    const world = this.#walker.after(first, this.#seedOf([first]));
    const before = world.fork();
    const { rerun } = await this.#restart(world, true);
    const walker = new LogWalker(before, rerun.device.log);
    for (let again = 0; again < rerun.device.log.length; again++) {
      const its = kindsOf(rerun.device.log[again] as SimulatedWrite);
      const cuts = [first, { write: again, kind: its[random.below(its.length)] as number }];
      const second = await this.#restart(walker.after(cuts[1] as Cut, this.#seedOf(cuts)), false);
      await this.#settle(tally, cuts, second.rerun, second.bootProblem);
    }
  }

  /** Two to five cuts in a row, the first at `write`. */
  async #cutChain(tally: Tally, write: number, number: number): Promise<void> {
    const random = new Random(mixSeed(this.#seed, write, 99, number));
    const depth = random.below(4) === 0 ? 3 + random.below(3) : 2;
    const cuts: Cut[] = [];
    let walker = this.#walker;
    let log = this.log;
    for (let at = write; ; at = random.below(log.length)) {
      const kinds = kindsOf(log[at] as SimulatedWrite);
      cuts.push({ write: at, kind: kinds[random.below(kinds.length)] as number });
      const world = walker.after(cuts.at(-1) as Cut, this.#seedOf(cuts));
      const before = world.fork();
      const last = cuts.length === depth;
      const { rerun, bootProblem } = await this.#restart(world, !last);
      // A rerun that has nothing left to write cannot be cut: the chain ends early.
      if (last || bootProblem !== undefined || rerun.device.log.length === 0) {
        return this.#settle(tally, cuts, rerun, bootProblem);
      }
      log = rerun.device.log;
      walker = new LogWalker(before, log);
    }
  }

  /** An error instead of the write: the installer must fail cleanly, and the next run must find a way. */
  async #fail(tally: Tally, write: number): Promise<void> {
    const faults: readonly WriteFault[] = [
      { code: "DEVICE_IO", lasting: false },
      { code: "DEVICE_NO_SPACE", lasting: true },
    ];
    for (const fault of faults) {
      tally.faults++;
      const device = this.#first.fork();
      device.failWrite(write, fault);
      const failed = await this.#run(device);
      const name = `${write}.${fault.code}`;
      const reason = await this.#afterFault(failed);
      if (reason !== undefined) this.#noteBroken(tally, name, write, reason);
    }
  }

  async #afterFault(failed: Rerun): Promise<string | undefined> {
    if (failed.succeeded) {
      const ending = await this.#end(failed);
      return ending.state === "broken" ? `after an error: ${ending.reason}` : undefined;
    }
    if (!(failed.error instanceof OtaError)) return `an error of the medium ends in a bug: ${bugText(failed.error)}`;
    const restarted = failed.device.restart();
    const bootProblem = await this.#subject.boots?.(restarted.fork());
    if (bootProblem !== undefined) return bootProblem;
    const ending = await this.#end(await this.#run(restarted));
    return ending.state === "broken" ? `after an error and a restart: ${ending.reason}` : undefined;
  }

  /** One chain of cuts alone: what `--only` does. Undefined when the runs do not have these writes. */
  async only(cuts: readonly Cut[]): Promise<Tally | undefined> {
    if (cuts.length === 0 || (cuts[0] as Cut).write >= this.log.length) return undefined;
    const replay = await this.#replay(cuts);
    if (replay === undefined) return undefined;
    const tally = emptyTally();
    const bootProblem = await this.#subject.boots?.(reviveDevice(this.#first, replay.world.fork(), false));
    await this.#settle(tally, cuts, replay.rerun, bootProblem);
    return tally;
  }
}
