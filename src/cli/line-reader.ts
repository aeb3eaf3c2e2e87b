/** Lines of standard input, one at a time, for dialogues. */
import { decodeText } from "../core/text.ts";
import { concatBytes } from "../core/bytes.ts";

export interface LineReader {
  /** The next line without its end; undefined behind the last one. */
  next(): Promise<string | undefined>;
  /** Whether a person types (whose terminal shows the line's end itself). */
  readonly fromTerminal: boolean;
  /** Lets the process end although the input stays open. */
  close(): void;
}

export function lineReader(input: AsyncIterable<Uint8Array>): LineReader {
  const source = input as AsyncIterable<Uint8Array> & { isTTY?: boolean; unref?: () => void; pause?: () => void };
  let chunks: AsyncIterator<Uint8Array> | undefined;
  let rest: Uint8Array = new Uint8Array(0);
  return {
    fromTerminal: source.isTTY === true,
    async next() {
      chunks ??= source[Symbol.asyncIterator]();
      for (;;) {
        const end = rest.indexOf(10);
        if (end >= 0) {
          const line = decodeText(rest, 0, end);
          rest = rest.subarray(end + 1);
          return line.replace(/\r$/, "");
        }
        const more = await chunks.next();
        if (more.done === true) {
          if (rest.length === 0) return undefined;
          const line = decodeText(rest);
          rest = new Uint8Array(0);
          return line;
        }
        const bytes = typeof more.value === "string" ? new TextEncoder().encode(more.value) : more.value;
        rest = concatBytes(rest, bytes);
      }
    },
    close() {
      if (chunks === undefined) return;
      source.pause?.();
      source.unref?.();
    },
  };
}
