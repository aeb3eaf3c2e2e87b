/** `--log_diff FILE`: what differs between the two target files. */
import { resolve } from "node:path";
import { describeDifferences } from "../android/index.ts";
import type { ByteStream } from "../core/ports.ts";
import { encodeText, printable } from "../core/text.ts";
import type { ZipArchive } from "../core/zip/index.ts";
import type { OtaRequest } from "./android-request.ts";
import { replaceFile } from "./write-beside.ts";

async function* text(request: OtaRequest, source: ZipArchive, target: ZipArchive): ByteStream {
  yield encodeText(`source: ${printable(request.source ?? "")}\ntarget: ${printable(request.targetFiles)}\n\n`);
  for await (const part of describeDifferences(source, target)) yield encodeText(part);
}

/** Writes the file when it was asked for; of A.zip+B.zip, A is compared. @throws OtaError DEVICE_* */
export async function writeLogDiff(request: OtaRequest, source: ZipArchive, target: ZipArchive): Promise<void> {
  if (request.logDiff === undefined) return;
  await replaceFile(resolve(request.cwd, request.logDiff), text(request, source, target));
}
