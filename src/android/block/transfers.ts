/** Which blocks of the new image are made from which of the old one (formats/android.md 3.3). */
import { baseName } from "../releasetools/tree-files.ts";
import type { MappedImage } from "./image-map.ts";
import { EMPTY, type Ranges } from "./ranges.ts";

/** Blocks saved before they are overwritten. */
export interface Stash {
  readonly id: number;
  /** Blocks of the old image. */
  readonly blocks: Ranges;
}

/** One piece of the new image. The planner fills in the order and the stashes. */
export interface Transfer {
  readonly name: string;
  readonly target: Ranges;
  source: Ranges;
  /** `diff` becomes move, bsdiff or imgdiff once the data is compared. */
  style: "new" | "zero" | "diff";
  /** Source and target are the whole file, in order: zip files may be taken apart. */
  intact: boolean;
  order: number;
  /** Transfers that must run later, because they overwrite what this one reads; weight in blocks. */
  readonly before: Map<Transfer, number>;
  readonly after: Map<Transfer, number>;
  /** Saved right before this transfer overwrites them. */
  readonly stashBefore: Stash[];
  /** Read instead of the blocks they were saved from. */
  readonly useStash: Stash[];
}

export function transfer(
  name: string,
  style: Transfer["style"],
  target: Ranges,
  source: Ranges = EMPTY,
  intact = false,
): Transfer {
  return {
    name,
    style,
    target,
    source,
    intact,
    order: 0,
    before: new Map(),
    after: new Map(),
    stashBefore: [],
    useStash: [],
  };
}

/** Versions in file names differ only in digits. */
function numberless(path: string): string {
  return baseName(path).replace(/[0-9]+/g, "#");
}

/** Pairs the files: equal path, else equal base name, else base name but for numbers; what has no partner is sent. */
export function findTransfers(target: MappedImage, source: MappedImage | undefined): Transfer[] {
  const byBase = new Map<string, string>();
  const byPattern = new Map<string, string>();
  for (const name of source?.files.keys() ?? []) {
    byBase.set(baseName(name), name);
    byPattern.set(numberless(name), name);
  }
  const transfers: Transfer[] = [];
  for (const [name, file] of target.files) {
    if (name === "__ZERO") {
      transfers.push(transfer(name, "zero", file.blocks, source?.files.get("__ZERO")?.blocks ?? EMPTY));
      continue;
    }
    const from =
      name === "__COPY" || name === "__DATA"
        ? undefined
        : source?.files.has(name) === true
          ? name
          : (byBase.get(baseName(name)) ?? byPattern.get(numberless(name)));
    // Groups of the old image other than its own namesake are no partner of a file.
    const old = from === undefined ? undefined : source?.files.get(from);
    if (old === undefined) transfers.push(transfer(name, "new", file.blocks));
    else transfers.push(transfer(name, "diff", file.blocks, old.blocks, file.monotonic && old.monotonic));
  }
  return transfers;
}
