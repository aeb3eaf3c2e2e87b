/** What a script works on: tells its own leftovers on /cache from those of others. */
import { parseSha1 } from "../applypatch/contents.ts";
import { calls, comparisons } from "../edify/ast.ts";
import type { EdifyCall, EdifyNode } from "../edify/ast.ts";

/** `range_sha1(device, ranges) == sha1`. */
export interface RangeCheck {
  readonly device: string;
  readonly ranges: string;
  readonly sha1: string;
}

export interface ScriptScope {
  /** SHA-1 of the sources that its patches are for, lower-case hex. */
  readonly patchBases: ReadonlySet<string>;
  /** Devices whose blocks it updates, as it names them. */
  readonly blockDevices: readonly string[];
  /** Digests of block ranges that it compares with what it expects, anywhere: of the base, and of the result. */
  readonly rangeChecks: readonly RangeCheck[];
}

/** SHA-1 of the sources that an `apply_patch` names literally, lower-case hex. */
export function basesOf(call: EdifyCall): ReadonlySet<string> {
  const digests = call.args.slice(4).flatMap((node) => {
    const sha1 = node.kind === "literal" ? parseSha1(node.value) : undefined;
    return sha1 === undefined ? [] : [sha1];
  });
  return new Set(digests);
}

/** Looks through a script; literal arguments only. */
export function scopeOf(root: EdifyNode): ScriptScope {
  const all = calls(root);
  const devices = all.flatMap(({ name, args: [device] }) =>
    name === "block_image_update" && device?.kind === "literal" ? [device.value] : [],
  );
  return {
    patchBases: new Set(all.flatMap((call) => (call.name === "apply_patch" ? [...basesOf(call)] : []))),
    blockDevices: [...new Set(devices)],
    rangeChecks: comparisons(root).flatMap(({ call: { name, args }, wanted }) => {
      const [device, ranges] = args;
      return name === "range_sha1" && device?.kind === "literal" && ranges?.kind === "literal"
        ? [{ device: device.value, ranges: ranges.value, sha1: wanted }]
        : [];
    }),
  };
}
