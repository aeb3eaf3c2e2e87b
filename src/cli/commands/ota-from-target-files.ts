/** `ota_from_target_files`: the original's command line (specification of Android packages, section 2.1). */
import { OtaError } from "../../core/errors.ts";
import { formatBytes } from "../../core/progress.ts";
import { printable } from "../../core/text.ts";
import { makeOta } from "../android-ota.ts";
import type { BlockRequest, OtaRequest, OtaResult, PayloadSignerRequest } from "../android-request.ts";
import { getopt, type GetoptOption, type GetoptResult } from "../getopt.ts";
import type { Io } from "../io.ts";
import { splitWords } from "../shell-words.ts";
import { paintProgress, parseProgressStyle } from "../progress.ts";

const value = (long: string, short?: string): GetoptOption => ({
  long,
  takesValue: true,
  ...(short === undefined ? {} : { short }),
});
const flag = (long: string, short?: string): GetoptOption => ({
  long,
  takesValue: false,
  ...(short === undefined ? {} : { short }),
});
/** Most bytes of a signature: no key is anywhere near. */
const MOST_SIGNATURE = 16384;
const extra = (option: GetoptOption): GetoptOption => ({ ...option, extra: true });

export const OTA_OPTIONS: readonly GetoptOption[] = [
  value("board_config", "b"),
  value("package_key", "k"),
  value("incremental_from", "i"),
  flag("wipe_user_data", "w"),
  flag("no_prereq", "n"),
  value("extra_script", "e"),
  value("aslr_mode", "a"),
  flag("two_step", "2"),
  value("worker_threads", "t"),
  value("path", "p"),
  value("device_specific", "s"),
  value("extra", "x"),
  value("fota", "f"),
  flag("verbose", "v"),
  flag("help", "h"),
  value("signapk_path"),
  value("extra_signapk_args"),
  value("java_path"),
  value("public_key_suffix"),
  value("private_key_suffix"),
  flag("block"),
  flag("verify"),
  flag("gen_verify"),
  flag("downgrade"),
  value("stash_threshold"),
  value("binary"),
  value("oem_settings", "o"),
  flag("oem_no_mount"),
  flag("full_radio"),
  flag("full_bootloader"),
  flag("no_fallback_to_full"),
  flag("override_timestamp"),
  value("log_diff"),
  value("payload_signer"),
  value("payload_signer_args"),
  value("payload_signer_maximum_signature_size"),
  extra(flag("payload")),
  extra(flag("keep_slot")),
  extra(flag("brotli")),
  extra(flag("no_signing")),
  extra(value("sign_command")),
  extra(value("certificate")),
  extra(value("era")),
  extra(value("progress")),
  extra(flag("json")),
  extra(flag("vendor-compatible")),
];

export const OTA_HELP = `Usage:  ota_from_target_files [options] TARGET_FILES.zip OUTPUT.zip

Makes an over-the-air package for an Android device from the target files of a build. A file may be A.zip+B.zip: B holds
prebuilt boot.img and recovery.img.

  -i, --incremental_from FILE   make an incremental package from this build to TARGET_FILES
  -k, --package_key KEY         sign with KEY.pk8 (or KEY.pem) and KEY.x509.pem; default: the build's own key
  -w, --wipe_user_data          format /data on install
  -n, --no_prereq               leave out the check for a newer build (full packages)
  -e, --extra_script FILE       append the text of FILE to the script
  -2, --two_step                install in two boots; the new recovery installs the new system
  -s, --device_specific PATH    device extension: an ES module, or a folder with releasetools.js
  -x, --extra KEY=VALUE         a value for the extension
  -t, --worker_threads N        patches made at once; default: all processors
  -p, --path DIR                DIR/bin and DIR are searched first for programs of --sign_command
  -f, --fota on|off             vendor extension without a public definition: \`on\` is recorded in the package's metadata
                                as fota=on and changes nothing else; default off
  -a, --aslr_mode on|off        accepted; without effect, as in the original
  -b, --board_config FILE       accepted and ignored, as in the original
  -v, --verbose                 print the build's information
  -h, --help                    print this text
  --public_key_suffix S, --private_key_suffix S    suffixes of the key files (.x509.pem, .pk8)
  --signapk_path, --extra_signapk_args, --java_path    accepted and ignored: no Java is used

Block-based packages (the 7.1 tool; the build needs IMAGES/system.img and IMAGES/system.map):
  --block                       write blocks instead of files; implies --era 7.1
  --verify                      check the partitions again after they were written
  --gen_verify                  a package that changes nothing and tells whether the device has this build
  --downgrade                   an older build over a newer one; user data is wiped
  --override_timestamp          the same of builds that were made in the wrong order; user data stays
  --log_diff FILE               with -i: write to FILE which entries of the two target files differ, and lines of small texts
  --stash_threshold SHARE       share of the cache partition that may be used (0.8)
  -b, --binary FILE             program of the package instead of the build's updater
  -o, --oem_settings FILE       values of the OEM partition, for builds whose name stands there (lines of oem.prop)
  --oem_no_mount                the script does not mount /oem
  --full_radio, --full_bootloader    handed to the extension as full_radio=true, full_bootloader=true
  --no_fallback_to_full         accepted; no full package is ever made in place of an incremental one
  --brotli                      new data packed with brotli, for updaters of 8.1 and later

A/B packages (payload.bin; made by themselves for builds that say ab_update=true):
  --payload                     make one whatever the build says; -i makes a delta, --downgrade, -w and -n work as above
  --payload_signer PROGRAM      signs the payload instead of the package's key: PROGRAM ARGS -in HASH -out SIGNATURE, where
                                the file HASH is a SHA-256 of 32 bytes, as for \`openssl pkeyutl\`
  --payload_signer_args ARGS    its arguments, quoted as in a shell: "-sign -inkey KEY.pem -pkeyopt digest:sha256"
  --payload_signer_maximum_signature_size N    bytes of its signatures; default: those of the package's key, or 256
  --keep_slot                   the device keeps its slot at the next boot (SWITCH_SLOT_ON_REBOOT=0)

Not in the original program:
  --era 4.4|7.1                 which year's tool (default 4.4; with --block 7.1)
  --no_signing                  leave the package unsigned
  --sign_command COMMAND        sign with a command: message on standard input, raw signature on standard output,
                                for instance: openssl dgst -sha256 -sign KEY.pem; OTAFORGE_SIGN_HASH says which hash
  --certificate FILE            certificate that belongs to --sign_command (default KEY.x509.pem)
  --vendor-compatible           the original's package to the byte, known defects included
  --build-record                write OUTPUT.build.json and OUTPUT.cdx.json (also OTAFORGE_BUILD_RECORD=1)
  --json                        print the result as JSON
  --progress STYLE              auto, plain, json or none
  OTAFORGE_KEY_PASSWORD         environment: password of an encrypted private key

Exit codes: 0 done, 2 wrong usage, 3 damaged target files, 4 key or signature, 5 builds that do not allow the package,
6 input/output, 7 interrupted (no file is left)
`;

function usage(what: string, where: string, more: { expected?: string; found?: string; hint?: string } = {}): OtaError {
  return new OtaError("USAGE", { what, where, ...more });
}

/** The last value of each option. */
function lastValues(parsed: GetoptResult): Map<string, string | undefined> {
  return new Map(parsed.options.map((o) => [o.name, o.value]));
}

function parseExtras(parsed: GetoptResult): Map<string, string> {
  const extras = new Map<string, string>();
  for (const { name, value } of parsed.options) {
    if (name !== "extra") continue;
    const text = value ?? "";
    const equals = text.indexOf("=");
    if (equals < 0) throw usage("no = in the value", "--extra", { expected: "KEY=VALUE", found: printable(text) });
    extras.set(text.slice(0, equals), text.slice(equals + 1));
  }
  return extras;
}

/** The original's switches that only an extension looks at. */
function withFlags(
  extras: Map<string, string>,
  values: ReadonlyMap<string, string | undefined>,
): ReadonlyMap<string, string> {
  for (const name of ["full_radio", "full_bootloader"]) if (values.has(name)) extras.set(name, "true");
  return extras;
}

/** Who signs the payload, where it is not the package's signer. @throws OtaError USAGE */
function payloadSignerRequest(
  values: ReadonlyMap<string, string | undefined>,
): { payloadSigner: PayloadSignerRequest } | undefined {
  const program = values.get("payload_signer");
  const args = values.get("payload_signer_args");
  const size = values.get("payload_signer_maximum_signature_size");
  if (program === undefined) {
    if (args === undefined && size === undefined) return undefined;
    throw usage(
      "no program that takes it is named",
      args === undefined ? "--payload_signer_maximum_signature_size" : "--payload_signer_args",
      { hint: "Give --payload_signer PROGRAM." },
    );
  }
  if (size !== undefined && !(/^[0-9]+$/.test(size) && Number(size) > 0 && Number(size) <= MOST_SIGNATURE)) {
    throw usage("not the size of a signature", "--payload_signer_maximum_signature_size", {
      expected: `1 to ${MOST_SIGNATURE}`,
      found: printable(size),
    });
  }
  return {
    payloadSigner: {
      program,
      args: splitWords(args ?? "", "--payload_signer_args"),
      ...(size === undefined ? {} : { signatureSize: Number(size) }),
    },
  };
}

/** What needs two builds, and what excludes what. @throws OtaError USAGE */
function checkTogether(values: ReadonlyMap<string, string | undefined>): void {
  if (values.has("downgrade") && values.has("override_timestamp")) {
    throw usage("one wipes user data and the other keeps them", "--downgrade, --override_timestamp", {
      hint: "Give one of the two.",
    });
  }
  const single = ["downgrade", "override_timestamp", "log_diff"].find((name) => values.has(name));
  if (single === undefined || values.has("incremental_from")) return;
  throw usage("only for incremental packages", `--${single}`, {
    hint:
      single === "log_diff" ? "Add -i with the other build." : "Add -i with the newer build; a full package takes -n.",
  });
}

/** The options of block-based packages; undefined when the package is a file-based one. @throws OtaError USAGE */
function blockRequest(values: ReadonlyMap<string, string | undefined>, era: string): BlockRequest | undefined {
  if (!values.has("block") && !values.has("gen_verify")) return undefined;
  if (era === "4.4") throw usage("the 4.4 tool knows no block-based packages", "--era 4.4", { expected: "--era 7.1" });
  const threshold = values.get("stash_threshold");
  if (threshold !== undefined && !(Number(threshold) > 0 && Number(threshold) <= 1)) {
    throw usage("not a share", "--stash_threshold", { expected: "above 0, at most 1", found: printable(threshold) });
  }
  return {
    genVerify: values.has("gen_verify"),
    brotli: values.has("brotli"),
    ...(threshold === undefined ? {} : { stashThreshold: Number(threshold) }),
  };
}

/** The request of a command line; undefined when help was asked for. @throws OtaError USAGE */
export function parseOtaArguments(
  argv: readonly string[],
  io: Io,
): (OtaRequest & { progress?: string; json: boolean }) | undefined {
  const parsed = getopt(argv, OTA_OPTIONS);
  const values = lastValues(parsed);
  if (values.has("help")) return undefined;
  const [targetFiles, output, ...more] = parsed.operands;
  if (targetFiles === undefined || output === undefined || more.length > 0) {
    throw usage("wrong number of arguments", "ota_from_target_files", {
      expected: "TARGET_FILES.zip OUTPUT.zip",
      found: String(parsed.operands.length),
      hint: "ota_from_target_files --help explains the options.",
    });
  }
  const fota = values.get("fota") ?? "off";
  if (fota !== "on" && fota !== "off")
    throw usage("unknown value", "--fota", { expected: "on or off", found: printable(fota) });
  const threads = values.get("worker_threads");
  if (threads !== undefined && !/^[1-9][0-9]{0,2}$/.test(threads)) {
    throw usage("not a number of threads", "--worker_threads", { expected: "1 to 999", found: printable(threads) });
  }
  const era = values.get("era") ?? (values.has("block") || values.has("gen_verify") ? "7.1" : "4.4");
  if (era !== "4.4" && era !== "7.1")
    throw usage("unknown era", "--era", { expected: "4.4 or 7.1", found: printable(era) });
  const payload = values.has("payload") ? "always" : values.get("era") === "4.4" ? "never" : "auto";
  checkTogether(values);
  const block = payload === "always" ? undefined : blockRequest(values, era);
  const text = <K extends string>(key: K, option: string): { [P in K]?: string } => {
    const found = values.get(option);
    return (found === undefined ? {} : { [key]: found }) as { [P in K]?: string };
  };
  // In the 7.1 tool -b names the program; --board_config is still ignored.
  const binary = values.get("binary") ?? (era === "7.1" ? values.get("board_config") : undefined);
  const password = io.env["OTAFORGE_KEY_PASSWORD"];
  return {
    cwd: io.cwd,
    targetFiles,
    output,
    ...text("source", "incremental_from"),
    ...text("extraScript", "extra_script"),
    ...text("extension", "device_specific"),
    ...text("progress", "progress"),
    json: values.has("json"),
    profile: values.has("vendor-compatible") ? "vendor" : "safe",
    wipeUserData: values.has("wipe_user_data"),
    omitPrereq: values.has("no_prereq"),
    twoStep: values.has("two_step"),
    fota: fota === "on",
    extras: withFlags(parseExtras(parsed), values),
    ...(threads === undefined ? {} : { jobs: Number(threads) }),
    verbose: values.has("verbose"),
    ...(block === undefined ? {} : { block }),
    era,
    ...text("oemSettings", "oem_settings"),
    oemNoMount: values.has("oem_no_mount"),
    verify: values.has("verify"),
    ...(binary === undefined ? {} : { binary }),
    payload,
    downgrade: values.has("downgrade"),
    overrideTimestamp: values.has("override_timestamp"),
    ...text("logDiff", "log_diff"),
    ...payloadSignerRequest(values),
    keepSlot: values.has("keep_slot"),
    signing: {
      none: values.has("no_signing"),
      ...text("key", "package_key"),
      ...text("privateKeySuffix", "private_key_suffix"),
      ...text("publicKeySuffix", "public_key_suffix"),
      ...text("command", "sign_command"),
      ...text("certificate", "certificate"),
      ...text("searchPath", "path"),
      ...(password === undefined || password === "" ? {} : { password }),
    },
  };
}

function summary(result: OtaResult): string {
  const signed = result.signed ? "signed" : "NOT signed: devices with keys refuse it";
  const operations = result.operations === undefined ? "" : `${result.operations} operations, `;
  return (
    `${result.output}: ${result.kind} package, ${formatBytes(result.size)}, ${result.entries} entries, ` +
    `${operations}${result.patches} patches, ${signed}\nsha256 ${result.sha256}\n`
  );
}

/** `keys/release.pk8` and `keys/release.x509.pem` name the same pair as `keys/release`. */
function keyOf({ signing }: OtaRequest): string | undefined {
  return signing.key?.replace(/\.(pk8|x509\.pem|pem)$/, "");
}

/** Where the private key may be. */
function secretsOf(request: OtaRequest): string[] {
  const key = keyOf(request);
  const suffixes = [request.signing.privateKeySuffix ?? ".pk8", ".pem"];
  return key === undefined ? [] : [...new Set(suffixes)].map((suffix) => `${key}${suffix}`);
}

/** Files a request reads, for its build record. */
function inputsOf(request: OtaRequest): string[] {
  const { targetFiles, source, extraScript, extension, binary, oemSettings, signing } = request;
  const pairs = [targetFiles, ...(source === undefined ? [] : [source])];
  const zips = pairs.flatMap((p) => /^(.+\.zip)\+(.+\.zip)$/i.exec(p)?.slice(1) ?? [p]);
  const key = keyOf(request);
  const certificate =
    signing.certificate ?? (key === undefined ? undefined : `${key}${signing.publicKeySuffix ?? ".x509.pem"}`);
  return [...zips, extraScript, extension, binary, oemSettings, certificate].filter((p) => p !== undefined);
}

export async function otaFromTargetFilesMain(argv: readonly string[], io: Io): Promise<number> {
  const request = parseOtaArguments(argv, io);
  if (request === undefined) {
    io.out(OTA_HELP);
    return 0;
  }
  const painter = paintProgress(io, parseProgressStyle(request.progress));
  for (const path of inputsOf(request)) io.trace?.used(path);
  for (const path of secretsOf(request)) io.trace?.secret(path);
  let result: OtaResult;
  try {
    result = await makeOta(request, { progress: painter, cancel: io.signal });
  } finally {
    painter.done();
  }
  io.trace?.made(request.output);
  if (request.logDiff !== undefined) io.trace?.made(request.logDiff);
  io.out(request.json ? `${JSON.stringify(result, null, 2)}\n` : summary(result));
  return 0;
}
