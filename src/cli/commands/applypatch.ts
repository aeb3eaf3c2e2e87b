/** `applypatch`: patches a file or partition as the 4.4 program does. Exit codes 0 done, 1 failed, 2 wrong usage. */
import { resolve } from "node:path";
import { runApplyPatch } from "../../android/index.ts";
import { toLatin1 } from "../../android/latin1.ts";
import { fromLatin1 } from "../../android/latin1.ts";
import { openDevice } from "../../device/index.ts";
import type { Io } from "../io.ts";

export async function applypatchMain(argv: readonly string[], io: Io): Promise<number> {
  const args: string[] = [];
  let description: string | undefined;
  let vendor = false;
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] as string;
    if (arg === "--vendor-compatible") vendor = true;
    else if (arg === "--device") description = argv[++i];
    else if (arg.startsWith("--device=")) description = arg.slice(9);
    else if (arg === "--help" || arg === "-h") args.length = 0;
    // Names are byte strings in the device's functions.
    else args.push(fromLatin1(new TextEncoder().encode(arg)));
  }
  const device = await openDevice(description === undefined ? undefined : resolve(io.cwd, description));
  try {
    return await runApplyPatch(
      {
        device,
        profile: vendor ? "vendor" : "safe",
        keep: new Set(),
        log: (text) => io.out(toLatin1(text)),
        settle: async () => undefined,
      },
      args,
    );
  } finally {
    await device.close();
  }
}
