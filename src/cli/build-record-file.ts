/** Reads build records. What one says is data: paths and commands of it are checked where they are used. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { OtaError } from "../core/errors.ts";
import type { BuildRecord } from "./build-record-types.ts";

const text = z.string();

const SCHEMA: z.ZodType<BuildRecord> = z.object({
  otaforgeBuild: z.literal(1),
  tool: z.object({ name: z.literal("otaforge"), version: text, node: text, zlib: text }),
  package: z.object({ file: text, size: z.int().min(0), sha256: text }),
  steps: z
    .array(
      z.object({
        command: z.array(text).min(1),
        folder: text,
        output: text,
        environment: z.record(text, text),
        inputs: z.array(z.object({ path: text, size: z.int().min(0), sha256: text, mode: text })),
        folders: z.array(text),
        secrets: z.array(text),
      }),
    )
    .min(1),
});

function malformed(where: string, found: string): OtaError {
  return new OtaError("TRUST_BUILD_RECORD", { what: "not a build record", where, found });
}

/** A record as it stands in a file. @throws OtaError TRUST_BUILD_RECORD, DEVICE_NOT_FOUND */
export async function readRecord(path: string): Promise<BuildRecord> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (e) {
    if (e instanceof SyntaxError) throw malformed(path, "no JSON");
    throw new OtaError(
      "DEVICE_NOT_FOUND",
      {
        what: "no build record",
        where: path,
        hint: "otaforge pack writes one beside its packages; vendor-named commands do with --build-record.",
      },
      e,
    );
  }
  const parsed = SCHEMA.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw malformed(path, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}
