/**
 * Owners, modes and labels that a folder on a PC cannot hold: kept in a file of lines beside it, so that building an image
 * needs no root. Only what differs from the real file is noted.
 */
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { FileAttributes } from "../../core/index.ts";
import { isInside } from "../paths.ts";

type Stored = { -readonly [K in keyof FileAttributes]: FileAttributes[K] };

interface Line extends Omit<Stored, "capabilities"> {
  readonly path: string;
  /** Bits as hex text: JSON has no 64-bit numbers. Null forgets the path. */
  capabilities?: string;
  readonly gone?: true;
}

function encode(path: string, attributes: Stored | undefined): string {
  if (attributes === undefined) return `${JSON.stringify({ path, gone: true })}\n`;
  const { capabilities, ...rest } = attributes;
  const line: Line = {
    path,
    ...rest,
    ...(capabilities === undefined ? {} : { capabilities: capabilities.toString(16) }),
  };
  return `${JSON.stringify(line)}\n`;
}

function decode(text: string): Map<string, Stored> {
  const map = new Map<string, Stored>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    try {
      const { path, gone, capabilities, ...rest } = JSON.parse(line) as Line;
      if (gone === true) map.delete(path);
      else
        map.set(path, {
          ...rest,
          ...(capabilities === undefined ? {} : { capabilities: BigInt(`0x${capabilities}`) }),
        });
    } catch {
      // The last line of a process that was killed; its file still has its real attributes.
    }
  }
  return map;
}

export class AttributeStore {
  readonly #file: string;
  readonly #map: Map<string, Stored>;

  constructor(file: string) {
    this.#file = file;
    let text = "";
    try {
      text = readFileSync(file, "utf8");
    } catch {
      // Nothing was noted yet.
    }
    this.#map = decode(text);
    const wanted = [...this.#map].map(([path, attributes]) => encode(path, attributes)).join("");
    if (wanted !== text) {
      writeFileSync(`${file}.new`, wanted);
      renameSync(`${file}.new`, file);
    }
  }

  get(path: string): FileAttributes | undefined {
    return this.#map.get(path);
  }

  set(path: string, attributes: FileAttributes | undefined): void {
    const empty = attributes === undefined || Object.keys(attributes).length === 0;
    if (empty && !this.#map.has(path)) return;
    if (empty) this.#map.delete(path);
    else this.#map.set(path, { ...attributes });
    mkdirSync(dirname(this.#file), { recursive: true });
    appendFileSync(this.#file, encode(path, empty ? undefined : attributes));
  }

  /** A file or folder was removed. */
  forget(path: string): void {
    for (const known of [...this.#map.keys()]) if (isInside(known, path)) this.set(known, undefined);
  }

  /** A file or folder got another name. */
  move(from: string, to: string): void {
    this.forget(to);
    for (const [known, attributes] of [...this.#map]) {
      if (!isInside(known, from)) continue;
      this.set(to + known.slice(from.length), attributes);
      this.set(known, undefined);
    }
  }
}
