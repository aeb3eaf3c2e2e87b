/** `test_ota [IMAGE]`: the vendor's test program, writing an image to a card as the kernel driver does. */
import { read } from "node:fs";
import { OtaError } from "../../core/errors.ts";
import type { OpenedDevice } from "../../device/index.ts";
import { newCommand } from "../command.ts";
import type { PackageInput } from "../family.ts";
import { installOrFull } from "../full-instead.ts";
import type { Io } from "../io.ts";
import { openCardOf, withCardOptions, type CardValues } from "../k230-card.ts";
import { httpBody, installInput, installReport } from "../k230-install.ts";
import { commonOptions, wholeNumber, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { PACKAGE_VERSION } from "../version.ts";
import type { VouchOptions } from "../vouch.ts";

const DEFAULT_IMAGE = "/data/ota_test.kdimg";
/** Pieces of the vendor's program. */
const VENDOR_CHUNK = 64 * 1024;

interface Values extends SharedValues, CardValues {
  chunk?: number;
  allowPartial?: boolean;
  replacePending?: boolean;
  manifest?: string;
  keyList?: string[];
  full?: string;
}

const PIPE_PIECE = 256 * 1024;
/** No less than is kept to recognise an image and its signature. */
const KEPT_BYTES = 128 * 1024;

/**
 * Standard input without garbage: after the first pieces, which are kept to recognise the image, one array is filled again and
 * again. An image of any size then passes through the same memory.
 */
async function* standardInput(): AsyncGenerator<Uint8Array> {
  const shared = new Uint8Array(PIPE_PIECE);
  let kept = 0;
  let compressed = false;
  for (;;) {
    const own: boolean = kept < KEPT_BYTES || compressed;
    const array: Uint8Array = own ? new Uint8Array(PIPE_PIECE) : shared;
    const bytesRead = await readPipe(array);
    if (bytesRead === 0) return;
    // A decompressor works on its input after it has taken it.
    if (kept === 0) compressed = array[0] === 0x1f;
    kept += bytesRead;
    yield array.subarray(0, bytesRead);
  }
}

function readPipe(array: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    read(0, array, 0, array.length, null, (e, bytesRead) => {
      if (e === null) resolve(bytesRead);
      else if (e.code === "EAGAIN") setTimeout(() => void readPipe(array).then(resolve, reject), 5);
      else reject(new OtaError("DEVICE_IO", { what: "standard input cannot be read", found: e.message }, e));
    });
  });
}

async function openImage(name: string, io: Io): Promise<PackageInput & { close(): Promise<void> }> {
  if (name === "-" && io.stdin === process.stdin) return openPackage(name, { ...io, stdin: standardInput() });
  if (!/^https?:\/\//.test(name)) return openPackage(name, io);
  const input = await openPackage("-", { ...io, stdin: httpBody(name, io.signal) });
  return { ...input, name };
}

/** The image as the device's policy allows it, and what is to be noted once it is installed. Loaded only where there is a policy. */
async function trusted(
  input: PackageInput,
  device: OpenedDevice | undefined,
  io: Io,
  options: VouchOptions,
): Promise<{ input: PackageInput; signature: string; done(): Promise<void> }> {
  if (device === undefined) return { input, signature: "unsigned", done: async () => undefined };
  const [{ vouch, raiseFloor }, { k230Family }] = await Promise.all([
    import("../vouch.ts"),
    import("../families/k230.ts"),
  ]);
  const vouched = await vouch(input, k230Family, { device, io }, options);
  return { input: vouched.input, signature: vouched.signature, done: () => raiseFloor(device, vouched) };
}

async function run(name: string, values: Values, io: Io): Promise<number> {
  const { chunk = VENDOR_CHUNK, full } = values;
  if (chunk < 1) throw new OtaError("USAGE", { what: "--chunk needs at least one byte", found: chunk });
  const options = commonOptions(values, io);
  const { manifest: _ofTheDelta, ...others } = values;
  const install = (image: string) => installOne(image, image === name ? values : others, options, io);
  return installOrFull(name, full, install, options.progress);
}

async function installOne(
  name: string,
  values: Values,
  options: ReturnType<typeof commonOptions>,
  io: Io,
): Promise<number> {
  const chunkSize = values.chunk ?? VENDOR_CHUNK;
  const image = await openImage(name, io);
  try {
    const opened = await openCardOf(values, io, { access: "write", command: "test_ota" });
    try {
      const vouched = await trusted(image, opened.device, io, values);
      const report = await installInput(opened.card, vouched.input, {
        ...options,
        chunkSize,
        allowPartial: values.allowPartial === true,
        replacePending: values.replacePending === true,
      });
      if (report.outcome === "installed") await vouched.done();
      options.progress.done();
      const { text, json, exitCode } = installReport(report, vouched.signature);
      if (values.json === true) io.out(`${JSON.stringify(json, null, 2)}\n`);
      else {
        io.out("OTA update successful!\n");
        // The vendor's program says no more; where its answer misleads, ours does.
        if (options.profile === "safe") io.out(`${text}\n`);
        else if (report.outcome !== "installed") io.err(`test_ota: ${text}\n`);
      }
      return exitCode;
    } finally {
      await opened.close();
    }
  } finally {
    await image.close();
  }
}

export async function testOtaMain(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const program = withSharedOptions(withCardOptions(newCommand("test_ota", io)))
    .description(
      "Writes an OTA image to a K230's card. Safe by default; --vendor-compatible writes exactly what the kernel driver writes.",
    )
    .version(PACKAGE_VERSION, "-V, --version")
    .argument("[image]", "kdimg file, http address, or - for a pipe", DEFAULT_IMAGE)
    .option("--chunk <bytes>", "bytes handed over at a time", wholeNumber, VENDOR_CHUNK)
    .option("--full <image>", "full image to install when IMAGE is a delta whose base does not run here")
    .option("--allow-partial", "take an image without rtapp")
    .option("--replace-pending", "overwrite an update that has not been started yet")
    .option("--manifest <file>", "signed manifest (default: IMAGE.manifest, or the signature inside the image)")
    .option("--key-list <file...>", "signed key lists to follow first (default: IMAGE.keys)")
    .action(async (name: string, values: Values) => void (exitCode = await run(name, values, io)));
  await program.parseAsync([...argv], { from: "user" });
  return exitCode;
}
