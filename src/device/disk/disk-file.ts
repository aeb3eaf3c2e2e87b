/** An open file of a real folder. */
import { ftruncateSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { OtaError, checkRange } from "../../core/index.ts";
import type { OpenFile } from "../../core/index.ts";
import { readExactly, writeAll } from "../file-reader.ts";
import { deviceError } from "../system-errors.ts";

export class DiskFile implements OpenFile {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #canWrite: boolean;
  #size: number;

  constructor(file: FileHandle, size: number, path: string, canWrite: boolean) {
    this.#file = file;
    this.#size = size;
    this.#path = path;
    this.#canWrite = canWrite;
  }

  get size(): number {
    return this.#size;
  }

  #checkWrite(): void {
    if (!this.#canWrite) {
      throw new OtaError("DEVICE_READ_ONLY", { what: "the file was opened for reading", where: this.#path });
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this.#size, offset, length);
    return readExactly(this.#file, offset, length, this.#path);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#checkWrite();
    await writeAll(this.#file, offset, bytes, this.#path);
    this.#size = Math.max(this.#size, bytes.length === 0 ? 0 : offset + bytes.length);
  }

  async truncate(size: number): Promise<void> {
    this.#checkWrite();
    try {
      ftruncateSync(this.#file.fd, size);
    } catch (e) {
      throw deviceError(e, this.#path) as Error;
    }
    this.#size = size;
  }

  async sync(): Promise<void> {
    if (!this.#canWrite) return;
    await this.#file.sync().catch((e: unknown) => {
      throw deviceError(e, this.#path);
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
