/** What differs between two target files, for people: the text of `--log_diff`. */
import { compareBytes } from "../../core/bytes.ts";
import { decodeText, encodeText, printable } from "../../core/text.ts";
import { unixMode, type ZipEntry } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";

/** Larger entries are not compared line by line. */
const MOST_TEXT = 256 * 1024;
/** Lines of one entry that are shown of each side. */
const MOST_LINES = 200;

async function linesOf(zip: ZipArchive, entry: ZipEntry): Promise<string[] | undefined> {
  if (entry.size > MOST_TEXT) return undefined;
  const bytes = await zip.read(entry, MOST_TEXT);
  if (bytes.includes(0)) return undefined;
  const text = decodeText(bytes);
  return text.includes("\ufffd") ? undefined : text.replace(/\n$/, "").split("\n");
}

/** Lines that one side has more of than the other, in their order. */
function surplus(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

function shown(sign: "-" | "+", lines: readonly string[]): string {
  const more = lines.length - MOST_LINES;
  return (
    lines
      .slice(0, MOST_LINES)
      .map((line) => `  ${sign} ${printable(line)}\n`)
      .join("") + (more > 0 ? `  ${sign} and ${more} more lines\n` : "")
  );
}

const octal = (entry: ZipEntry): string => (unixMode(entry) & 0o7777).toString(8).padStart(4, "0");

/**
 * The differences, line by line, entries in the order of their names. Entries are the same when size and CRC-32 are; of small
 * texts the lines are told that only one side has.
 */
export async function* describeDifferences(source: ZipArchive, target: ZipArchive): AsyncGenerator<string, void, void> {
  const names = new Set([...source.entries, ...target.entries].map((e) => e.name));
  const sorted = [...names].map((n) => [encodeText(n), n] as const).sort(([a], [b]) => compareBytes(a, b));
  let count = 0;
  for (const [, name] of sorted) {
    const [old, fresh] = [source.get(name), target.get(name)];
    if (old === undefined || fresh === undefined) {
      count++;
      yield `only in the ${fresh === undefined ? "source" : "target"}: ${printable(name)} (${(old ?? fresh)?.size ?? 0} bytes)\n`;
      continue;
    }
    const changed = old.size !== fresh.size || old.crc !== fresh.crc;
    if (!changed && octal(old) === octal(fresh)) continue;
    count++;
    if (octal(old) !== octal(fresh)) yield `mode: ${printable(name)} (source ${octal(old)}, target ${octal(fresh)})\n`;
    if (!changed) continue;
    yield `changed: ${printable(name)} (source ${old.size} bytes, target ${fresh.size} bytes)\n`;
    const [before, after] = [await linesOf(source, old), await linesOf(target, fresh)];
    if (before === undefined || after === undefined) continue;
    const [gone, came] = [surplus(before, after), surplus(after, before)];
    yield shown("-", gone) + shown("+", came);
    if (gone.length + came.length === 0) yield "  the same lines, in another order or with another end\n";
  }
  yield `${count} of ${sorted.length} entries differ\n`;
}
