/** Whether targets are still mounted, once the begin script had its chance to unmount them. */
import { OtaError } from "../../core/errors.ts";
import { decodeText } from "../../core/text.ts";
import type { MountInfo } from "../../core/ports.ts";
import type { Context } from "./context.ts";
import { parentOf } from "./paths.ts";
import { mountOf } from "./preflight.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";

/** All the names under which the kernel mounts what `path` names. */
function mountNames(path: string, volumeName: string | undefined): string[] {
  const last = path.slice(path.lastIndexOf("/") + 1);
  const flash = /^mtd(?:block|ro)?(\d+)(?:ro)?$/.exec(last);
  if (flash !== null) {
    const n = flash[1] as string;
    return [path, `/dev/mtd${n}`, `/dev/mtdblock${n}`, `mtd${n}`];
  }
  const volume = /^ubi(\d+)_(\d+)$/.exec(last);
  if (volume !== null) {
    const device = `ubi${volume[1] as string}`;
    const block = `/dev/ubiblock${volume[1] as string}_${volume[2] as string}`;
    return [path, last, block, ...(volumeName === undefined ? [] : [`${device}:${volumeName}`, `ubi:${volumeName}`])];
  }
  return [path];
}

async function refuseMounted(ctx: Context, target: Target, mounts: readonly MountInfo[]): Promise<void> {
  const name = target.work === "volume" ? (await ctx.device.ubi.info(target.path))?.name : undefined;
  const names = mountNames(target.path, name);
  const mounted = mounts.find((m) => names.includes(m.node));
  if (mounted === undefined) return;
  throw new OtaError("SIGMASTAR_MOUNTED", {
    what: "the target is mounted",
    where: targetName(target.record, target.path),
    expected: "unmounted by the begin script",
    found: `mounted at ${mounted.at}`,
    hint: `Let the begin script run: umount ${mounted.at}`,
  });
}

/** @throws OtaError SIGMASTAR_MOUNTED, DEVICE_READ_ONLY */
export async function checkMounts(ctx: Context, targets: readonly Target[]): Promise<void> {
  if (targets.length === 0) return;
  const mounts = await ctx.device.mounts.list();
  for (const target of targets) {
    const { work } = target;
    if (work === "raw" || work === "volume" || work === "raw difference") await refuseMounted(ctx, target, mounts);
    if (!work.startsWith("file")) continue;
    const mount = mountOf(mounts, parentOf(target.path));
    if (mount?.readOnly === true) {
      throw new OtaError("DEVICE_READ_ONLY", {
        what: "the file lies on a file system that is mounted read-only",
        where: targetName(target.record, target.path),
        hint: `Let the begin script run: mount -o remount,rw ${mount.at}`,
      });
    }
  }
}

/** What a line of a script unmounts: `umount -l /customer`, `umount /dev/ubi0_3 || true`. */
function unmountedBy(script: string): string[] {
  return script.split(/[\n;&|]+/).flatMap((command) => {
    const words = command.trim().split(/\s+/);
    if (!/^(?:(?:\/usr)?\/s?bin\/)?umount$/.test(words[0] ?? "")) return [];
    return words.slice(1).filter((word) => !word.startsWith("-"));
  });
}

/**
 * On a device that only notes scripts, what the begin script would have unmounted is unmounted all the same, so that the
 * check of mounts says what it would say on the board. Only plain `umount PLACE` commands are understood.
 */
export async function followNotedUnmounts(ctx: Context, script: Uint8Array): Promise<void> {
  const named = new Set(unmountedBy(decodeText(script)));
  if (named.size === 0) return;
  for (const mount of await ctx.device.mounts.list()) {
    if (!named.has(mount.at) && !named.has(mount.node)) continue;
    await ctx.device.mounts.unmount(mount.at);
    ctx.sink.note("info", `${mount.at}: unmounted, as the begin script says`);
  }
}
