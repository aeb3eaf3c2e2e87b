/** Opens the package a user named, once, and looks at its first bytes. */
import { resolve } from "node:path";
import { openFileReader } from "../device/file-reader.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, RandomReader } from "../core/ports.ts";
import type { PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { unpackHead } from "./plain-head.ts";
import { streamKept } from "./small-memory.ts";

const HEAD_BYTES = 4096;
/** What of a pipe is looked at before it is handed on: a signature inside a package ends before this. */
const PIPE_BEGIN = 68 * 1024;

async function describeHead(head: Uint8Array): Promise<{ head: Uint8Array; plainHead: Uint8Array; gzipped: boolean }> {
  const gzipped = head.length >= 3 && head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;
  return { head, gzipped, plainHead: gzipped ? await unpackHead(head, HEAD_BYTES) : head };
}

/** Opens `name`, or standard input for `-`. The caller closes it. @throws OtaError DEVICE_NOT_FOUND, DEVICE_NOT_FILE */
export async function openPackage(name: string, io: Io): Promise<PackageInput & { close(): Promise<void> }> {
  if (name === "-") return openPipe(io);
  const reader = await openFileReader(resolve(io.cwd, name));
  return { ...(await readerInput(name, reader)), close: () => reader.close() };
}

/** The package a reader gives; `name` is where what lies beside it is looked for. */
export async function readerInput(name: string, reader: RandomReader): Promise<PackageInput> {
  const head = await reader.read(0, Math.min(HEAD_BYTES, reader.size));
  return { name, reader, stream: () => streamKept(reader), ...(await describeHead(head)) };
}

async function openPipe(io: Io): Promise<PackageInput & { close(): Promise<void> }> {
  const source = io.stdin[Symbol.asyncIterator]();
  const begun: Uint8Array[] = [];
  let have = 0;
  while (have < PIPE_BEGIN) {
    const next = await source.next();
    if (next.done === true) break;
    begun.push(next.value);
    have += next.value.length;
  }
  let used = false;
  async function* rest(): ByteStream {
    if (used) {
      throw new OtaError("UNSUPPORTED", {
        what: "standard input can be read only once",
        hint: "Store the package in a file and name that.",
      });
    }
    used = true;
    yield* begun;
    for (;;) {
      const next = await source.next();
      if (next.done === true) return;
      yield next.value;
    }
  }
  const begin = new Uint8Array(Buffer.concat(begun).subarray(0, PIPE_BEGIN));
  return {
    name: "-",
    stream: rest,
    begin,
    ...(await describeHead(begin.subarray(0, HEAD_BYTES))),
    close: async () => void (await source.return?.()),
  };
}
