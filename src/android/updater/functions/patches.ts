/** apply_patch, apply_patch_check, apply_patch_space. */
import { EdifyAbort } from "../../edify/evaluate.ts";
import type { EdifyBlob } from "../../edify/evaluate.ts";
import { applyPatch, checkPatchSource } from "../../applypatch/apply.ts";
import type { PatchChoice, PatchContext } from "../../applypatch/apply.ts";
import { checkCacheSpace } from "../../applypatch/cache.ts";
import { parseInteger } from "../numbers.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES } from "../host.ts";
import { heldOnCache } from "../cache-room.ts";
import { firstOf } from "./common.ts";
import type { FunctionTable } from "./common.ts";

export function patchContext(session: UpdaterSession): PatchContext {
  return {
    device: session.device,
    profile: session.host.profile,
    keep: session.host.keep,
    log: (text) => session.log(text),
    settle: () => session.settle(),
  };
}

export function patchFunctions(session: UpdaterSession): FunctionTable {
  const context = patchContext(session);
  return {
    async apply_patch(call) {
      const stop = (text: string): never => {
        throw new EdifyAbort(`${call.name}(): ${text}`, CAUSES.arguments);
      };
      const count = call.args.length;
      if (count < 6 || count % 2 === 1) stop(`expected at least 6 args and an even number, got ${count}`);
      const [source, target, sha1, sizeText] = (await firstOf(call, 4)) as [string, string, string, string];
      const size = parseInteger(sizeText, 10);
      if (!size.any) stop(`can't parse "${sizeText}" as byte count`);
      const values: (string | EdifyBlob)[] = [];
      for (const node of call.args.slice(4)) values.push(await call.value(node));
      const choices: PatchChoice[] = [];
      for (let i = 0; i < values.length; i += 2) {
        const [digest, patch] = [values[i], values[i + 1]];
        if (typeof digest !== "string") return stop(`sha-1 #${i / 2} is not string`);
        if (typeof patch !== "object") return stop(`patch #${i / 2} is not blob`);
        choices.push({ sha1: digest, patch: async () => (patch.size < 0 ? undefined : patch.bytes()) });
      }
      const done = await applyPatch(context, { source, target, sha1, size: size.value, choices });
      return done ? "t" : "";
    },

    async apply_patch_check(call) {
      if (call.args.length < 1) {
        throw new EdifyAbort(`${call.name}(): expected at least 1 arg, got ${call.args.length}`, CAUSES.arguments);
      }
      const [name, ...sha1s] = (await call.strings()) as [string, ...string[]];
      if (!(await checkPatchSource(context, name, sha1s))) return "";
      session.proven.add(name);
      return "t";
    },

    async apply_patch_space(call) {
      const [text] = (await firstOf(call, 1)) as [string];
      const bytes = parseInteger(text, 10);
      if (!bytes.any) {
        throw new EdifyAbort(`${call.name}(): can't parse "${text}" as byte count\n\n`, CAUSES.arguments);
      }
      // Counted without a sign, as the original does, it is more than there can be.
      if (bytes.value < 0) return "";
      const held = session.safe ? await heldOnCache(session) : 0;
      return (await checkCacheSpace(context, Math.max(0, bytes.value - held), context.keep)) ? "t" : "";
    },
  };
}
