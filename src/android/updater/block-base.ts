/** Whether a device holds what a transfer list is for, before anything is written. */
import { memoryReader } from "../../core/streams.ts";
import { BLOCK_SIZE, hashBlocks } from "../block-update/blocks.ts";
import { parseRanges, rangesEnd } from "../block-update/ranges.ts";
import { runBlockUpdate } from "../block-update/run.ts";
import type { TransferList } from "../block-update/transfer-list.ts";
import { devicePath, openTarget } from "./device-files.ts";
import type { UpdaterSession } from "./host.ts";

/**
 * Whether a device holds what a list starts from, or what it leads to, or some of both. A script looks itself before it changes
 * anything, but for two-step packages: they write boot and recovery before. `name`: as the script names the device; `text`: the list
 * as a byte string. @throws OtaError DEVICE_*, CANCELLED
 */
export async function holdsBlockBase(
  session: UpdaterSession,
  name: string,
  text: string,
  list: TransferList,
): Promise<boolean> {
  const { device, host } = session;
  if (session.proven.has(name)) return true;
  const checks = session.scope.rangeChecks.filter((check) => check.device === name);
  const target = await openTarget(device, devicePath(name), "read");
  try {
    for (const { ranges, sha1 } of checks) {
      if ((await session.rememberedHash(name, ranges)) === sha1) return true;
      const set = parseRanges(ranges);
      if (set === undefined || rangesEnd(set) * BLOCK_SIZE > target.size) continue;
      if ((await hashBlocks(device, target, set)) === sha1) return true;
    }
    // Lists of version 1 and 2 do not say what they start from.
    if (list.version <= 2) return checks.length === 0;
    const { unexpected } = await runBlockUpdate(
      {
        device,
        profile: "safe",
        dry: true,
        keep: host.keep,
        log: () => undefined,
        pipe: () => undefined,
        checkCancel: () => {
          session.checkCancel();
        },
      },
      {
        ...{ name, target, transferList: text, write: false, isBlockDevice: false },
        newData: async function* () {},
        patchData: memoryReader(new Uint8Array(0)),
      },
    );
    return !unexpected;
  } finally {
    await target.close();
  }
}
