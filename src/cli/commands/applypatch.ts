/** `applypatch`: patches a file or partition as the 4.4 program does. Exit codes 0 done, 1 failed, 2 wrong usage, 69 no device. */
import { posix, resolve } from "node:path";
import { runApplyPatch } from "../../android/index.ts";
import { toLatin1, utf8 } from "../../android/latin1.ts";
import { acquireLock, openDevice } from "../../device/index.ts";
import type { Io } from "../io.ts";

/** Whether these arguments patch, or make room by deleting; checks and usage do not wait for the device. */
function mayChange([mode]: readonly string[]): boolean {
  return mode !== undefined && mode !== "-c" && mode !== "-l";
}

const OPTIONS = `Not in the original:
  --device FILE             device description (default: this machine is the board)
  --vendor-compatible       the bare results of the original

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 no device (its description cannot be read, it is locked).
`;

export async function applypatchMain(argv: readonly string[], io: Io): Promise<number> {
  const args: string[] = [];
  let description: string | undefined;
  let vendor = false;
  let usage = false;
  let help = false;
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] as string;
    if (arg === "--vendor-compatible") vendor = true;
    else if (arg === "--device") {
      description = argv[++i];
      // Without its value the device would be this machine.
      if (description === undefined) usage = true;
    } else if (arg.startsWith("--device=")) description = arg.slice(9);
    else if (arg === "--help" || arg === "-h") help = true;
    // Names are byte strings in the device's functions.
    else args.push(utf8(arg));
  }
  const device = await openDevice(description === undefined ? undefined : resolve(io.cwd, description));
  try {
    const own = usage || help ? [] : args;
    const cwd = utf8(io.cwd);
    const lock = mayChange(own) ? await acquireLock(device, "applypatch") : undefined;
    try {
      const code = await runApplyPatch(
        {
          device,
          profile: vendor ? "vendor" : "safe",
          keep: new Set(),
          log: (text) => io.out(toLatin1(text)),
          settle: async () => undefined,
        },
        own,
        "applypatch",
        device.kind === "board" ? (name) => posix.resolve(cwd, name) : undefined,
      );
      if (!help) return code;
      io.out(OPTIONS);
      return 0;
    } finally {
      await lock?.release();
    }
  } finally {
    await device.close();
  }
}
