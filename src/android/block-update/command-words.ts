/** Where the parts of a command stand among its words, formats/android.md section 3.3. */

/** Indexes of words; word 0 is the command's name. */
export interface CommandWords {
  /** Ranges that get new contents. */
  readonly target: number;
  /** Ranges the command reads; in front of them versions 2 and later state the number of source blocks. Absent: it reads none. */
  readonly source?: number;
  /** Version 3 and later: SHA-1 of the source and of the result. */
  readonly sourceHash?: number;
  readonly resultHash?: number;
}

/**
 * The places of a writing command in a list of `version`, by what stands in front of the ranges:
 *
 * | version | `move`           | `bsdiff` and `imgdiff`                         |
 * | ------- | ---------------- | ---------------------------------------------- |
 * | 1       | source target    | offset length source target                    |
 * | 2       | target n source  | offset length target n source                  |
 * | 3, 4    | sha1 target n …  | offset length sha1 sha1-of-result target n …   |
 *
 * `new`, `zero` and `erase` have their target alone; undefined for what writes nothing.
 */
export function commandWords(name: string, version: number): CommandWords | undefined {
  if (name === "new" || name === "zero" || name === "erase") return { target: 1 };
  const patch = name === "bsdiff" || name === "imgdiff";
  if (!patch && name !== "move") return undefined;
  const first = patch ? 3 : 1;
  if (version === 1) return { source: first, target: first + 1 };
  if (version === 2) return { target: first, source: first + 2 };
  const target = patch ? first + 2 : first + 1;
  return { sourceHash: first, resultHash: target - 1, target, source: target + 2 };
}
