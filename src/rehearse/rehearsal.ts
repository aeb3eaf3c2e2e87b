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

/** How a cut ended. */
export type Outcome = "old" | "new" | "resumed" | "broken";

/** What became of all cuts at one write of the clean run, or (kind `end`) of the one after its end. */
export interface WriteOutcome {
  /** Number of the write, from 0; the number of writes for the end. */
  readonly index: number;
  readonly kind: SimulatedWrite["kind"] | "end";
  /** Node or path. */
  readonly where: string;
  readonly offsetBytes?: number;
  readonly sizeBytes?: number;
  /** One a kind of cut, in the order of CUT_KINDS; `null`: not tried, or a write that cannot be torn. */
  readonly cuts: (Outcome | null)[];
  /** Chains of cuts that begin here: while the installation was being repeated, the power went again. */
  readonly repeated: Record<Outcome, number>;
  /** Runs with an error instead of this write, and how many of them ended badly. */
  faults: number;
  brokenFaults: number;
}

function outcomesOf(index: number, write: SimulatedWrite | undefined): WriteOutcome {
  const size =
    write === undefined
      ? undefined
      : "bytes" in write
        ? write.bytes.length
        : "length" in write
          ? write.length
          : undefined;
  return {
    index,
    kind: write?.kind ?? "end",
    where: write?.where ?? "",
    ...(write !== undefined && "offset" in write ? { offsetBytes: write.offset } : {}),
    ...(size === undefined ? {} : { sizeBytes: size }),
    cuts: CUT_KINDS.map(() => null),
    repeated: { old: 0, new: 0, resumed: 0, broken: 0 },
    faults: 0,
    brokenFaults: 0,
  };
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
  /** One a write that was tried, in no order. */
  readonly steps: WriteOutcome[];
}

export function emptyTally(): Tally {
  return { cuts: 0, endedOld: 0, endedNew: 0, resumed: 0, broken: 0, repeatedCuts: 0, faults: 0, steps: [] };
}

/** Adds `part` to `sum`; the broken step of the earlier write stays the first. */
export function addTally(sum: Tally, part: Tally): void {
  for (const key of ["cuts", "endedOld", "endedNew", "resumed", "broken", "repeatedCuts", "faults"] as const) {
    sum[key] += part[key];
  }
  sum.steps.push(...part.steps);
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

/** A device after a chain of cuts and the run that followed. */
interface Restarted {
  readonly cuts: readonly Cut[];
  /** The device as the last cut left it; only to be used when the rerun's log was kept. */
  readonly before: World;
  readonly rerun: Rerun;
  readonly bootProblem: string | undefined;
}

function anyKind(log: readonly SimulatedWrite[], write: number, random: Random): number {
  const kinds = kindsOf(log[write] as SimulatedWrite);
  return kinds[random.below(kinds.length)] as number;
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
    const step = outcomesOf(this.log.length, undefined);
    const tally: Tally = { ...emptyTally(), steps: [step] };
    const ending = await this.#end({ device: this.#clean, succeeded: true });
    tally.cuts = 1;
    step.cuts[0] = ending.state === "new" ? "new" : "broken";
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

  /** `again`: the chain was judged before, and the cut is one of a rerun that writes nothing. */
  async #settle(tally: Tally, { cuts, rerun, bootProblem }: Restarted, again = false): Promise<void> {
    const ending = await this.#endOf(rerun, bootProblem);
    const { write, kind } = cuts[0] as Cut;
    const outcome: Outcome = ending.state === "new" && rerun.device.targetWrites > 0 ? "resumed" : ending.state;
    const step = tally.steps.at(-1) as WriteOutcome;
    tally.cuts++;
    if (cuts.length === 1 && !again) step.cuts[kind] = outcome;
    else {
      tally.repeatedCuts++;
      step.repeated[outcome]++;
    }
    if (ending.state === "broken") this.#noteBroken(tally, formatCuts(cuts), write, ending.reason);
    else if (outcome === "old") tally.endedOld++;
    else if (outcome === "resumed") tally.resumed++;
    else tally.endedNew++;
  }

  /** How it ends, and of a broken device whether it was broken when it started or only after the command. */
  async #endOf(rerun: Rerun, bootProblem: string | undefined): Promise<Ending> {
    if (bootProblem !== undefined) {
      return { state: "broken", reason: `as it starts, before the command is run again: ${bootProblem}` };
    }
    const ending = await this.#end(rerun);
    return ending.state === "broken"
      ? { state: "broken", reason: `after the command was run again: ${ending.reason}` }
      : ending;
  }

  /** An empty tally for what is tried at one write. */
  #tallyAt(write: number): Tally {
    return { ...emptyTally(), steps: [outcomesOf(write, this.log[write])] };
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
    const tally = this.#tallyAt(plan.write);
    const roots = new Map<number, Restarted>();
    for (const kind of plan.kinds) {
      const root = await this.#cut([{ write: plan.write, kind }], this.#walker, plan.deeper !== 0);
      await this.#settle(tally, root);
      if (plan.deeper !== 0) roots.set(kind, root);
    }
    if (plan.deeper === "all") await this.#cutWholeRerun(tally, plan.write, roots);
    else if (plan.deeper > 0) await this.#cutReruns(tally, plan, roots);
    if (plan.faults) await this.#fail(tally, plan.write);
    return tally;
  }

  /** Makes the device after the last cut of a chain and restarts it. `walker` goes through the run that is cut. */
  async #cut(cuts: readonly Cut[], walker: LogWalker, keepLog: boolean): Promise<Restarted> {
    const world = walker.after(cuts.at(-1) as Cut, this.#seedOf(cuts));
    const before = keepLog ? world.fork() : world;
    return { cuts, before, ...(await this.#restart(world, keepLog)) };
  }

  /** The restart after one cut at `write`, of a random kind; one that was made already is taken from `roots`. */
  async #root(write: number, random: Random, roots: Map<number, Restarted>): Promise<Restarted> {
    const kinds = kindsOf(this.log[write] as SimulatedWrite);
    const kind = kinds[random.below(kinds.length)] as number;
    const root = roots.get(kind) ?? (await this.#cut([{ write, kind }], this.#walker, true));
    roots.set(kind, root);
    return root;
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

  /** Cuts the run after a cut at each of its writes. */
  async #cutWholeRerun(tally: Tally, write: number, roots: Map<number, Restarted>): Promise<void> {
    const random = new Random(mixSeed(this.#seed, write, 77));
    const root = await this.#root(write, random, roots);
    const { log } = root.rerun.device;
    const walker = new LogWalker(root.before, log);
    for (let again = 0; again < log.length; again++) {
      const cuts = [...root.cuts, { write: again, kind: anyKind(log, again, random) }];
      await this.#settle(tally, await this.#cut(cuts, walker, false));
    }
  }

  /**
   * `plan.deeper` further cuts in the runs after a cut at `plan.write`, in chains of two to five cuts. Every cut of a chain is
   * followed by a run to the end, which is judged and whose log the next cut is made from: a judged cut costs one run.
   */
  async #cutReruns(tally: Tally, plan: WritePlan, roots: Map<number, Restarted>): Promise<void> {
    const { write } = plan;
    const wanted = tally.cuts + (plan.deeper as number);
    for (let chain = 0; tally.cuts < wanted; chain++) {
      const random = new Random(mixSeed(this.#seed, write, 99, chain));
      let last = await this.#root(write, random, roots);
      // A run that has nothing left to write: wherever it is cut, it ends as it does uncut.
      if (last.rerun.device.log.length === 0) await this.#settle(tally, last, true);
      for (let deeper = random.below(4) === 0 ? 2 + random.below(3) : 1; deeper > 0; deeper--) {
        const { log } = last.rerun.device;
        if (log.length === 0 || tally.cuts === wanted) break;
        const at = random.below(log.length);
        const cuts = [...last.cuts, { write: at, kind: anyKind(log, at, random) }];
        last = await this.#cut(cuts, new LogWalker(last.before, log), deeper > 1);
        await this.#settle(tally, last);
      }
    }
  }

  /** An error instead of the write: the installer must fail cleanly, and the next run must find a way. */
  async #fail(tally: Tally, write: number): Promise<void> {
    const faults: readonly WriteFault[] = [
      { code: "DEVICE_IO", lasting: false },
      { code: "DEVICE_NO_SPACE", lasting: true },
    ];
    for (const fault of faults) {
      const step = tally.steps.at(-1) as WriteOutcome;
      tally.faults++;
      step.faults++;
      const device = this.#first.fork();
      device.failWrite(write, fault);
      const failed = await this.#run(device);
      const name = `${write}.${fault.code}`;
      const reason = await this.#afterFault(failed);
      if (reason !== undefined) {
        step.brokenFaults++;
        this.#noteBroken(tally, name, write, reason);
      }
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
    const tally = this.#tallyAt((cuts[0] as Cut).write);
    const bootProblem = await this.#subject.boots?.(reviveDevice(this.#first, replay.world.fork(), false));
    await this.#settle(tally, { cuts, before: replay.world, rerun: replay.rerun, bootProblem });
    return tally;
  }
}
