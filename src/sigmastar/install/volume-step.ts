/**
 * UBI volumes.
 *
 * UBI makes a volume unreadable from the first byte of an update to its last. When the UBI device has room for a second
 * volume of the same size, the new content goes there first and the names are exchanged, so that whoever mounts by name finds
 * a whole volume at any moment; then the named node is brought up to date as well, the names go back and the second volume is
 * removed. Nodes, names and sizes end as they began. Without room the volume is updated in place, from the beginning after a
 * cut.
 */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, UbiVolumeInfo } from "../../core/ports.ts";
import { streamRange } from "../../core/streams.ts";
import type { Context } from "./context.ts";
import { report, saveState, warn } from "./context.ts";
import type { StepNote } from "./device-state.ts";
import { PIECE, pieceCount, pieceDigest, pieceLength, sha256 } from "./package-source.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";

type VolumeNote = Extract<StepNote, { kind: "volume" }>;

/** Volumes of one UBI device. */
const MAX_VOLUMES = 128;

async function infoOf(ctx: Context, path: string, where: string): Promise<UbiVolumeInfo> {
  const info = await ctx.device.ubi.info(path);
  if (info === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "the UBI volume does not exist", where });
  return info;
}

/** Node of the volume called `name` on the UBI device of `path`. */
async function findVolume(ctx: Context, path: string, name: string): Promise<string | undefined> {
  const device = /^(.*)_\d+$/.exec(path)?.[1];
  if (device === undefined) return undefined;
  for (let id = 0; id < MAX_VOLUMES; id++) {
    const node = `${device}_${id}`;
    if (node !== path && (await ctx.device.ubi.info(node))?.name === name) return node;
  }
  return undefined;
}

async function readBack(ctx: Context, target: Target, node: string): Promise<void> {
  const { record } = target;
  const volume = await ctx.device.ubi.open(node);
  try {
    for (let i = 0; i < pieceCount(record); i++) {
      const length = pieceLength(record, i);
      const whole = volume.size >= i * PIECE + length;
      const bytes = whole ? await volume.read(i * PIECE, length) : new Uint8Array(0);
      if (!equalBytes(sha256(ctx.device.digests, bytes), pieceDigest(record, i))) {
        throw new OtaError("SIGMASTAR_READ_BACK", {
          what: "what was read back is not what was written",
          where: `${targetName(record, target.path)}, offset ${hexOffset(i * PIECE)}`,
        });
      }
      report(ctx, "read back", target, i * PIECE + length, record.head.fileSize);
    }
  } finally {
    await volume.close();
  }
}

async function* counted(stream: ByteStream, onBytes: (done: number) => void): ByteStream {
  let done = 0;
  for await (const chunk of stream) {
    // A program that is fed through a pipe may still hold a chunk when the next one is asked for.
    yield chunk.slice();
    done += chunk.length;
    onBytes(done);
  }
}

async function fill(ctx: Context, target: Target, node: string): Promise<void> {
  const size = target.record.head.fileSize;
  const content = counted(ctx.payloads.stream(target.record), (done) => report(ctx, "update", target, done, size));
  await ctx.device.ubi.update(node, size, content);
  await readBack(ctx, target, node);
}

/** Brings the payload of a record into a UBI volume. */
export async function runVolume(ctx: Context, target: Target): Promise<void> {
  const where = targetName(target.record, target.path);
  const info = await infoOf(ctx, target.path, where);
  const size = target.record.head.fileSize;
  const begun = ctx.state.step?.kind === "volume" && ctx.state.step.node === target.path ? ctx.state.step : undefined;
  if (begun !== undefined) {
    const second = await findVolume(ctx, target.path, await otherName(ctx, begun));
    if (second !== undefined || begun.stage === "copied") return throughSecond(ctx, target, begun, second);
  }
  if (info.availableBytes < info.size) {
    ctx.sink.note("info", `${where}: no room for a second volume, updated in place`);
    return fill(ctx, target, target.path);
  }
  const note: VolumeNote = {
    kind: "volume",
    node: target.path,
    name: info.name,
    second: `otaforge${info.volumeId}`,
    stage: "filling",
    size,
  };
  await saveState(ctx, {}, note);
  let second: string;
  try {
    second = await ctx.device.ubi.create(target.path, note.second, info.size);
  } catch (e) {
    // Room that cannot be used (no free volume number, blocks kept back for bad ones): in place, as without room.
    if (!(e instanceof OtaError) || e.code !== "DEVICE_NO_SPACE") throw e;
    warn(ctx, `${where}: ${e.message}; updated in place`);
    return fill(ctx, target, target.path);
  }
  return throughSecond(ctx, target, note, second);
}

/** The name the second node carries now: names may be exchanged at the moment. */
async function otherName(ctx: Context, note: VolumeNote): Promise<string> {
  const info = await ctx.device.ubi.info(note.node);
  return info?.name === note.second ? note.name : note.second;
}

async function throughSecond(
  ctx: Context,
  target: Target,
  note: VolumeNote,
  second: string | undefined,
): Promise<void> {
  if (note.stage === "filling" && second !== undefined) {
    await fill(ctx, target, second);
    note = { ...note, stage: "ready" };
    await saveState(ctx, {}, note);
  }
  if (note.stage === "ready" && second !== undefined) {
    if (!(await isExchanged(ctx, note))) await ctx.device.ubi.swapNames(note.node, second);
    await fill(ctx, target, note.node);
    note = { ...note, stage: "copied" };
    await saveState(ctx, {}, note);
  }
  await finishSecond(ctx, note, second);
}

async function isExchanged(ctx: Context, note: VolumeNote): Promise<boolean> {
  return (await ctx.device.ubi.info(note.node))?.name === note.second;
}

/** Gives the names back and removes the second volume, once the first one is whole again. */
async function finishSecond(ctx: Context, note: VolumeNote, second: string | undefined): Promise<void> {
  if (second === undefined) return;
  if (await isExchanged(ctx, note)) await ctx.device.ubi.swapNames(note.node, second);
  await ctx.device.ubi.remove(second);
}

/**
 * Puts right what another package's interrupted volume update left: a second volume that is not needed, or names that are
 * exchanged (then the first volume is completed from the second one).
 */
export async function settleVolume(ctx: Context, note: VolumeNote): Promise<void> {
  if ((await ctx.device.ubi.info(note.node)) === undefined) return;
  const second = await findVolume(ctx, note.node, await otherName(ctx, note));
  if (second === undefined) return;
  if (note.stage === "ready" && (await isExchanged(ctx, note))) {
    const whole = await ctx.device.ubi.open(second);
    try {
      await ctx.device.ubi.update(note.node, note.size, streamRange(whole, 0, note.size));
    } finally {
      await whole.close();
    }
  }
  await finishSecond(ctx, note, second);
}
