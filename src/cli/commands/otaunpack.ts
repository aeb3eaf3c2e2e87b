/**
 * `otaunpack`: the vendor's upgrade client (specification of SigmaStar packages, section 7), with our own options beside its
 * four. Success is 0; failures have the exit codes of all our commands, and a call without a package prints the help and
 * ends with 255 as the vendor's does.
 */
import { resolve } from "node:path";
import { isOtaError, OtaError } from "../../core/errors.ts";
import type { ProgressSink } from "../../core/ports.ts";
import { nodeDigests, openDevice, type OpenedDevice } from "../../device/index.ts";
import { FIRST_PROGRESS, detectGeneration, nextProgress, plainLine } from "../../sigmastar/index.ts";
import { sigmastarFamily } from "../families/sigmastar.ts";
import { getopt, type GetoptOption } from "../getopt.ts";
import type { Io } from "../io.ts";
import { openPackage } from "../package-input.ts";
import { fanOut, paintProgress, parseProgressStyle, type Painter } from "../progress.ts";
import {
  describedScreen,
  openProgressScreen,
  parseScreenNumber,
  parseScreenSize,
  type OpenScreen,
  type ScreenChoice,
} from "../screen.ts";
import { installInput } from "../sigmastar-device.ts";
import { checkFamily, raiseFloor, vouch } from "../vouch.ts";

const HELP = `Usage: otaunpack -x FILE | -r FILE [-t DIR] [-p PICTURE]
  -x FILE                   install a gzip package (SStarOta.bin.gz)
  -r FILE                   install a plain package (SStarOta.bin)
  -t DIR                    writable folder for differential records; must keep its files at a power cut
  -p PICTURE                full-screen background of the progress screen (jpg, png)

Not in the vendor's program:
  --device FILE             device description (DEVICE.json); default: this board
  --run-scripts             run the package's scripts on an image device, too
  --accept-volatile         let -t be a folder in memory
  --ignore-masks            write destinations with mask 0 as well
  --abandon                 give up what another package's interrupted update left half-written
  --manifest FILE           signed manifest (default: FILE.manifest, or the one inside the package)
  --key-list FILE           signed key lists to follow first (default: FILE.keys)
  --screen FILE             framebuffer or plain file to draw on (default /dev/fb0 with -p)
  --screen-size WxH  --screen-depth 16|24|32  --screen-order bgra|rgb|...  --screen-stride N
                            what sysfs does not tell
  --screen-style two-bars|one-bar
  --json                    print the result as JSON
  --progress STYLE          auto, plain, json, vendor or none
  --vendor-compatible       behave as the vendor's program where it does no harm to the device
  --help                    print this text

A run that was interrupted is finished by running the same command again.
Exit codes: 0 installed, 2 wrong usage, 3 damaged package, 4 not trusted, 5 wrong device or base,
            6 device or script failed, 7 interrupted (run it again), 255 no package named
`;

const extra = (long: string, takesValue = true): GetoptOption => ({ long, takesValue, extra: true });

const TABLE: readonly GetoptOption[] = [
  { short: "x", takesValue: true },
  { short: "r", takesValue: true },
  { short: "t", takesValue: true },
  { short: "p", takesValue: true },
  extra("device"),
  extra("run-scripts", false),
  extra("accept-volatile", false),
  extra("ignore-masks", false),
  extra("abandon", false),
  extra("manifest"),
  extra("key-list"),
  extra("screen"),
  extra("screen-size"),
  extra("screen-depth"),
  extra("screen-order"),
  extra("screen-stride"),
  extra("screen-style"),
  extra("json", false),
  extra("progress"),
  extra("vendor-compatible", false),
  extra("help", false),
];

const EXIT_HELP = 255;

type Values = ReadonlyMap<string, string | undefined>;

function parse(argv: readonly string[], io: Io): Values | undefined {
  try {
    const { options } = getopt(argv, TABLE);
    return new Map(options.map((o) => [o.name, o.value]));
  } catch (e) {
    if (!isOtaError(e)) throw e;
    io.err(`otaunpack: ${e.message}\n`);
    return undefined;
  }
}

/** Sink of the vendor's own progress lines. */
function vendorLines(io: Io): Painter {
  let state = FIRST_PROGRESS;
  let last = "";
  return {
    progress(event) {
      state = nextProgress(state, event);
      const line = plainLine(state);
      if (line !== last) io.err(`${line}\n`);
      last = line;
    },
    note: (level, text) => io.err(`${level === "warning" ? "warning: " : ""}${text}\n`),
    done() {},
  };
}

function painter(values: Values, io: Io): Painter {
  const style = values.get("progress");
  return style === "vendor" ? vendorLines(io) : paintProgress(io, parseProgressStyle(style));
}

function screenChoice(values: Values, device: OpenedDevice): ScreenChoice | undefined {
  const described = device.description.framebuffer;
  const path = values.get("screen");
  const picture = values.get("p");
  if (path === undefined && picture === undefined && described === undefined) return undefined;
  const size = values.get("screen-size");
  const depth = values.get("screen-depth");
  const stride = values.get("screen-stride");
  const order = values.get("screen-order");
  const style = values.get("screen-style") ?? "two-bars";
  if (style !== "two-bars" && style !== "one-bar") {
    throw new OtaError("USAGE", {
      what: "unknown screen style",
      where: "--screen-style",
      expected: "two-bars or one-bar",
      found: style,
    });
  }
  return {
    style,
    ...(path === undefined && described !== undefined ? describedScreen(described) : {}),
    ...(path === undefined ? {} : { path }),
    ...(picture === undefined ? {} : { picture }),
    ...(size === undefined ? {} : parseScreenSize(size)),
    ...(depth === undefined ? {} : { depth: parseScreenNumber(depth, "--screen-depth") }),
    ...(stride === undefined ? {} : { stride: parseScreenNumber(stride, "--screen-stride") }),
    ...(order === undefined ? {} : { order }),
  };
}

async function unpack(
  values: Values,
  io: Io,
  device: OpenedDevice,
  paint: Painter,
  screen: OpenScreen | undefined,
): Promise<number> {
  const compressed = values.get("x");
  const name = compressed ?? values.get("r") ?? "";
  const opened = await openPackage(name, io);
  try {
    const known = detectGeneration(opened.plainHead, nodeDigests) !== undefined;
    if (known && opened.gzipped !== (compressed !== undefined)) {
      throw new OtaError("USAGE", {
        what: opened.gzipped ? "the package is compressed" : "the package is not compressed",
        where: name,
        hint: opened.gzipped ? "Use -x for it." : "Use -r for it.",
      });
    }
    checkFamily(device, sigmastarFamily);
    const manifest = values.get("manifest");
    const keyList = values.get("key-list");
    const vouched = await vouch(
      opened,
      sigmastarFamily,
      { device, io },
      {
        ...(manifest === undefined ? {} : { manifest }),
        ...(keyList === undefined ? {} : { keyList: [keyList] }),
      },
    );
    const sinks: ProgressSink[] = screen === undefined ? [paint] : [paint, screen];
    const temporary = values.get("t");
    const report = await installInput(
      vouched.input,
      device,
      {
        progress: fanOut(...sinks),
        cancel: io.signal,
        profile: values.has("vendor-compatible") ? "vendor" : "safe",
        runScripts: values.has("run-scripts"),
        acceptVolatile: values.has("accept-volatile"),
        allowPartial: false,
        keyFiles: [],
        items: vouched.claim?.items ?? [],
        signature: vouched.signature,
        ...(temporary === undefined ? {} : { temporary }),
      },
      {
        command: "otaunpack",
        compression: compressed === undefined ? "plain" : "gzip",
        cwd: io.cwd,
        needsNamedScratch: true,
        ignoreMasks: values.has("ignore-masks"),
        abandon: values.has("abandon"),
      },
    );
    await raiseFloor(device, vouched);
    await screen?.finish();
    paint.done();
    io.out(values.has("json") ? `${JSON.stringify(report.json, null, 2)}\n` : `${report.text}\n`);
    return report.exitCode;
  } finally {
    await opened.close();
  }
}

/** `otaunpack`. */
export async function otaunpackMain(argv: readonly string[], io: Io): Promise<number> {
  const values = parse(argv, io);
  if (values?.has("help") === true) {
    io.out(HELP);
    return 0;
  }
  const packages = values === undefined ? 0 : Number(values.has("x")) + Number(values.has("r"));
  if (values === undefined || packages !== 1) {
    if (packages > 1) io.err("otaunpack: -x and -r exclude each other\n");
    io.out(HELP);
    return EXIT_HELP;
  }
  const paint = painter(values, io);
  const description = values.get("device");
  const device = await openDevice(description === undefined ? undefined : resolve(io.cwd, description), {
    runScripts: values.has("run-scripts"),
  });
  try {
    const choice = screenChoice(values, device);
    const warn = (text: string): void => paint.note("warning", text);
    const screen = choice === undefined ? undefined : await openProgressScreen(choice, io.cwd, warn);
    try {
      return await unpack(values, io, device, paint, screen);
    } catch (e) {
      paint.done();
      await screen?.failed(isOtaError(e) ? e.message : "internal error");
      throw e;
    } finally {
      await screen?.close();
    }
  } finally {
    await device.close();
  }
}
