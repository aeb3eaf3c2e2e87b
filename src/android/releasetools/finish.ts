/** The last three entries of every package: script, program, metadata. */
import { BINARY_NAME, METADATA_NAME, SCRIPT_NAME } from "../entry-names.ts";
import { compareBytes } from "../../core/bytes.ts";
import { encodeText } from "../../core/text.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { needUpdater, type Frame } from "./frame.ts";
import type { MadePackage } from "./options.ts";
import { archiveEntry, modeAttributes } from "./package-plan.ts";

/** `key=value` lines, sorted by key. */
export function metadataText(metadata: ReadonlyMap<string, string>): string {
  return [...metadata]
    .map(([k, v]) => [encodeText(k), `${k}=${v}\n`] as const)
    .sort(([a], [b]) => compareBytes(a, b))
    .map(([, line]) => line)
    .join("");
}

/**
 * Script, program and metadata as the 4.4 tool writes them; the updater goes into the package as `update-binary`.
 * @throws OtaError ANDROID_TARGET_FILES when the build has none
 */
export function addScript({ plan, script, metadata }: Frame, target: TargetFiles, defaultKey: string): MadePackage {
  plan.addText(SCRIPT_NAME, script.text());
  const entry = archiveEntry(target.zip, needUpdater(target), BINARY_NAME, false);
  plan.add({ ...entry, input: { ...entry.input, externalAttributes: modeAttributes(0o755) } });
  plan.addText(METADATA_NAME, metadataText(metadata));
  return { plan, script: script.text(), metadata, defaultKey };
}
