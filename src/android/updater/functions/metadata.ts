/** Owners, modes, labels and capabilities. */
import type { FileAttributes, FileInfo } from "../../../core/ports.ts";
import { EdifyAbort } from "../../edify/evaluate.ts";
import type { EdifyInvocation } from "../../edify/evaluate.ts";
import { devicePath, failureText, orFail } from "../device-files.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES } from "../host.ts";
import { parseInteger } from "../numbers.ts";
import { countError } from "./common.ts";
import type { FunctionTable } from "./common.ts";

/** What a `set_metadata` call asks for. */
interface Wanted {
  uid?: number;
  gid?: number;
  mode?: number;
  dmode?: number;
  fmode?: number;
  selabel?: string;
  capabilities?: bigint;
}

const NAMES = { uid: "UID", gid: "GID", mode: "mode", dmode: "dmode", fmode: "fmode" } as const;

/** 64-bit number in C syntax. */
function parseCapabilities(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*(-?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9]\d{0,18})/.exec(text);
  if (match === null) return undefined;
  const digits = match[2] as string;
  const value = /^0[0-7]+$/.test(digits) ? BigInt(`0o${digits.slice(1)}`) : BigInt(digits);
  return BigInt.asUintN(64, match[1] === "-" ? -value : value);
}

function parseWanted(session: UpdaterSession, pairs: readonly string[]): Wanted {
  const wanted: Wanted = {};
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [key, text] = [pairs[i] as string, pairs[i + 1] as string];
    if (key === "selabel") {
      if (text !== "") wanted.selabel = text;
      else session.log(`ParsedPermArgs: invalid selabel "${text}"\n`);
    } else if (key === "capabilities") {
      const value = parseCapabilities(text);
      if (value === undefined) session.log(`ParsedPermArgs: invalid capabilities "${text}"\n`);
      else wanted.capabilities = value;
    } else if (key in NAMES) {
      const name = key as keyof typeof NAMES;
      const parsed = parseInteger(text, name === "uid" || name === "gid" ? 10 : 0);
      if (parsed.any) wanted[name] = parsed.value;
      else session.log(`ParsedPermArgs: invalid ${NAMES[name]} "${text}"\n`);
    } else session.log(`ParsedPermArgs: unknown key "${key}", ignoring\n`);
  }
  return wanted;
}

const MODE_BITS = 0o7777;

/** Files whose attributes are set at once: a board starts one program for all their labels. Each holds a folder open meanwhile. */
const AT_ONCE = 64;

export function metadataFunctions(session: UpdaterSession): FunctionTable {
  const { device, host } = session;
  const { files } = device;

  /** False when something failed. Links are left alone. */
  const apply = async (path: string, info: FileInfo, wanted: Wanted): Promise<boolean> => {
    if (info.kind === "link") return true;
    let mode = wanted.mode;
    if (info.kind === "folder" && wanted.dmode !== undefined) mode = wanted.dmode;
    if (info.kind === "file" && wanted.fmode !== undefined) mode = wanted.fmode;
    const attributes: FileAttributes = {
      ...(wanted.uid === undefined ? {} : { uid: wanted.uid }),
      ...(wanted.gid === undefined ? {} : { gid: wanted.gid }),
      ...(mode === undefined ? {} : { mode: mode & MODE_BITS }),
      ...(wanted.selabel === undefined ? {} : { selinuxLabel: wanted.selabel }),
      ...(wanted.capabilities === undefined || info.kind !== "file" ? {} : { capabilities: wanted.capabilities }),
    };
    if (Object.keys(attributes).length === 0) return true;
    return orFail(
      async () => {
        await files.setAttributes(path, attributes);
        session.touched(path);
        return true;
      },
      (text) => {
        session.log(`ApplyParsedPerms: changing ${path} failed: ${text}\n`);
        return false;
      },
    );
  };

  /** What lies below a folder, then the folder itself. */
  const below = async function* (path: string, info: FileInfo): AsyncGenerator<readonly [string, FileInfo]> {
    if (info.kind === "folder") {
      for (const name of await files.list(path)) {
        const child = path === "/" ? `/${name}` : `${path}/${name}`;
        const childInfo = await files.stat(child);
        if (childInfo !== undefined) yield* below(child, childInfo);
      }
    }
    yield [path, info];
  };

  /** Everything below a folder and the folder itself, {@link AT_ONCE} at a time; counts failures. */
  const walk = async (
    path: string,
    info: FileInfo,
    visit: (p: string, i: FileInfo) => Promise<boolean>,
  ): Promise<number> => {
    let failures = 0;
    let together: Promise<boolean>[] = [];
    const done = async (): Promise<void> => {
      for (const result of await Promise.allSettled(together)) {
        if (result.status === "rejected") throw result.reason;
        if (!result.value) failures++;
      }
      together = [];
    };
    for await (const [at, found] of below(path, info)) {
      if (together.push(visit(at, found)) === AT_ONCE) await done();
    }
    await done();
    return failures;
  };

  const setMetadata = async (call: EdifyInvocation, recursive: boolean): Promise<string> => {
    if (call.args.length % 2 !== 1) throw countError(call, "an odd number of arguments");
    const [name, ...pairs] = (await call.strings()) as [string, ...string[]];
    const path = devicePath(name);
    let info: FileInfo | undefined;
    let reason = "No such file or directory";
    try {
      info = await files.stat(path);
    } catch (e) {
      reason = failureText(e);
    }
    if (info === undefined) {
      const text = `${call.name}: Error on lstat of "${name}": ${reason}`;
      // 4.4 makes the message and forgets to stop: its packages set metadata of files that are not there.
      if (host.era === "7.1") throw new EdifyAbort(text, CAUSES.metadata);
      session.log(`${text}\n`);
      return "";
    }
    const wanted = parseWanted(session, pairs);
    const failures = recursive
      ? await walk(path, info, (p, i) => apply(p, i, wanted))
      : (await apply(path, info, wanted))
        ? 0
        : 1;
    if (failures > 0) throw new EdifyAbort(`${call.name}: some changes failed`, CAUSES.metadata);
    return "";
  };

  const number = (call: EdifyInvocation, text: string, what: string): number => {
    const parsed = parseInteger(text, 0);
    if (!parsed.whole) throw new EdifyAbort(`${call.name}: "${text}" not a valid ${what}`);
    return parsed.value;
  };

  const setPerm = async (call: EdifyInvocation): Promise<string> => {
    if (call.args.length < 4) throw countError(call, "4+ args");
    const [uidText, gidText, modeText, ...names] = (await call.strings()) as [string, string, string, ...string[]];
    const uid = number(call, uidText, "uid");
    const gid = number(call, gidText, "gid");
    const mode = number(call, modeText, "mode");
    let failed = false;
    for (const name of names) {
      const path = devicePath(name);
      await orFail(
        async () => {
          await files.setAttributes(path, { uid, gid, mode: mode & MODE_BITS });
          session.touched(path);
        },
        (text) => {
          session.log(`${call.name}: chown of ${name} to ${uid} ${gid} failed: ${text}\n`);
          session.log(`${call.name}: chmod of ${name} to ${mode.toString(8)} failed: ${text}\n`);
          failed = true;
        },
      );
    }
    if (failed) throw new EdifyAbort(`${call.name}: some changes failed`);
    return "";
  };

  const setPermRecursive = async (call: EdifyInvocation): Promise<string> => {
    if (call.args.length < 5) throw countError(call, "5+ args");
    const [uidText, gidText, dmodeText, fmodeText, ...names] = (await call.strings()) as [
      ...[string, string, string, string],
      ...string[],
    ];
    const uid = number(call, uidText, "uid");
    const gid = number(call, gidText, "gid");
    const dmode = number(call, dmodeText, "dirmode") & MODE_BITS;
    const fmode = number(call, fmodeText, "filemode") & MODE_BITS;
    for (const name of names) {
      const path = devicePath(name);
      try {
        const info = await files.stat(path);
        if (info === undefined) continue;
        const failures = await walk(path, info, (p, i) => apply(p, i, { uid, gid, dmode, fmode }));
        if (failures > 0 && session.safe) throw new EdifyAbort(`${call.name}: some changes failed`);
      } catch (e) {
        // Failures of this one are nobody's business in the original.
        session.log(`${call.name}: ${name}: ${failureText(e)}\n`);
        session.lost(e, `${call.name} of ${name}`);
      }
    }
    return "";
  };

  return {
    set_metadata: (call) => setMetadata(call, false),
    set_metadata_recursive: (call) => setMetadata(call, true),
    ...(host.era === "4.4" ? { set_perm: setPerm, set_perm_recursive: setPermRecursive } : {}),
  };
}
