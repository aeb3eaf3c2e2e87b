/** The head of a transfer list and its lines, formats/android.md section 3.3. */

export interface TransferList {
  readonly version: 1 | 2 | 3 | 4;
  /** Blocks written; 0: nothing is done at all. */
  readonly total: number;
  /** Most blocks stashed at once; 0 in version 1. */
  readonly maxStashed: number;
  /** Commands as they stand, without empty lines. */
  readonly commands: readonly string[];
}

/** Largest transfer list that is read, bytes. */
export const MAX_TRANSFER_LIST = 256 * 1024 * 1024;

/** What is wrong with a list, in the original's words. */
export interface TransferListProblem {
  readonly problem: string;
}

function count(text: string | undefined): number | undefined {
  // ParseInt takes blanks before the number and nothing behind it.
  if (text === undefined || !/^[ \t]*\+?\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0x7fffffff ? value : undefined;
}

/** Reads a list given as a byte string. `told` gets the notes the original logs on the way. */
export function parseTransferList(text: string, told: (line: string) => void): TransferList | TransferListProblem {
  const lines = text.split("\n");
  if (lines.length < 2) return { problem: `too few lines in the transfer list [${lines.length}]` };
  const version = count(lines[0]);
  if (version !== 1 && version !== 2 && version !== 3 && version !== 4) {
    return { problem: `unexpected transfer list version [${lines[0]}]` };
  }
  told(`blockimg version is ${version}`);
  const total = count(lines[1]);
  if (total === undefined) return { problem: `unexpected block count [${lines[1]}]` };
  if (total === 0) return { version, total, maxStashed: 0, commands: [] };
  let maxStashed = 0;
  if (version >= 2) {
    if (lines.length < 4) return { problem: `too few lines in the transfer list [${lines.length}]` };
    told(`maximum stash entries ${lines[2]}`);
    const most = count(lines[3]);
    if (most === undefined) return { problem: `unexpected maximum stash blocks [${lines[3]}]` };
    maxStashed = most;
  }
  return { version, total, maxStashed, commands: lines.slice(version >= 2 ? 4 : 2).filter((line) => line !== "") };
}
