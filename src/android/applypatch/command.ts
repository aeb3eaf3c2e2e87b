/** The `applypatch` command line (4.4): modes, texts and exit codes 0, 1 and 2. */
import { readFileAt } from "./read-file.ts";
import { applyPatch, checkPatchSource } from "./apply.ts";
import type { PatchChoice, PatchContext } from "./apply.ts";
import { checkCacheSpace } from "./cache.ts";
import { isPartitionName, parseSha1 } from "./contents.ts";
import { parseInteger } from "../updater/numbers.ts";

const usage = (
  name: string,
): string => `usage: ${name} [-b <bonus-file>] <src-file> <tgt-file> <tgt-sha1> <tgt-size> [<src-sha1>:<patch> ...]
   or  ${name} -c <file> [<sha1> ...]
   or  ${name} -s <bytes>
   or  ${name} -l

Filenames may be of the form
  MTD:<partition>:<len_1>:<sha1_1>:<len_2>:<sha1_2>:...
to specify reading from or writing to an MTD partition.

`;

const LICENSES = `applypatch of otaforge, Apache License 2.0.
`;

/** A name as it is given, as the device's functions take it: they begin relative ones in `/`. */
export type NameOf = (name: string) => string;

async function patchMode(context: PatchContext, args: readonly string[], nameOf: NameOf): Promise<number | undefined> {
  let rest = args;
  let bonus: Uint8Array | undefined;
  if (rest[0] === "-b") {
    if (rest.length < 2) return undefined;
    bonus = await readFileAt(context, nameOf(rest[1] as string));
    if (bonus === undefined) {
      context.log(`failed to load bonus file ${rest[1]}\n`);
      return 1;
    }
    rest = rest.slice(2);
  }
  if (rest.length < 5) return undefined;
  const [source, target, sha1, sizeText, ...pairs] = rest as [string, string, string, string, ...string[]];
  const size = parseInteger(sizeText, 10);
  if (!size.any) {
    context.log(`can't parse "${sizeText}" as byte count\n\n`);
    return 1;
  }
  const choices: PatchChoice[] = [];
  for (const pair of pairs) {
    const colon = pair.indexOf(":");
    const digest = colon < 0 ? pair : pair.slice(0, colon);
    if (parseSha1(digest) === undefined) {
      context.log(`failed to parse sha1 "${digest}"\nfailed to parse patch args\n`);
      return 1;
    }
    const patch = colon < 0 ? undefined : await readFileAt(context, nameOf(pair.slice(colon + 1)));
    if (colon >= 0 && patch === undefined) {
      context.log("failed to parse patch args\n");
      return 1;
    }
    choices.push({ sha1: digest, patch: async () => patch });
  }
  const done = await applyPatch(context, {
    source: nameOf(source),
    target: target === "-" ? target : nameOf(target),
    sha1,
    size: size.value,
    choices,
    ...(bonus === undefined ? {} : { bonus }),
  });
  return done ? 0 : 1;
}

/**
 * Runs the command with the arguments behind its name; `context.log` is its standard output. `nameOf`: for names that are not of
 * partitions; by default they stay as they are.
 * Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
export async function runApplyPatch(
  context: PatchContext,
  args: readonly string[],
  name = "applypatch",
  nameOf: NameOf = (given) => given,
): Promise<number> {
  const fileOf: NameOf = (given) => (given === "" || isPartitionName(given) ? given : nameOf(given));
  let code: number | undefined;
  const [mode] = args;
  if (mode === "-l") {
    context.log(LICENSES);
    return 0;
  }
  if (mode === "-c" && args.length >= 2) {
    code = (await checkPatchSource(context, fileOf(args[1] as string), args.slice(2))) ? 0 : 1;
  } else if (mode === "-s" && args.length === 2) {
    const bytes = parseInteger(args[1] as string, 10);
    if (!bytes.any) {
      context.log(`can't parse "${args[1]}" as byte count\n\n`);
      return 1;
    }
    code = (await checkCacheSpace(context, bytes.value, context.keep)) ? 0 : 1;
  } else if (mode !== undefined && mode !== "-c" && mode !== "-s") {
    code = await patchMode(context, args, fileOf);
  }
  if (code === undefined) {
    context.log(usage(name));
    return 2;
  }
  return code;
}
