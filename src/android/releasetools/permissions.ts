/** Permission statements of a tree: recursive ones where most agree, single ones for the rest (formats/android.md 2.3). */
import { compareBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { encodeText, printable } from "../../core/text.ts";
import { TREE_CONFIG, type FileTree, type TreeName } from "../target-files/file-tree.ts";
import type { FileMetadata } from "../target-files/filesystem-config.ts";
import type { Script, SubtreeMetadata } from "./script.ts";

/** Files the tool makes itself have fixed metadata, whatever the config says. */
export const GENERATED_METADATA: Readonly<Record<string, FileMetadata>> = Object.freeze({
  "system/recovery-from-boot.p": { uid: 0, gid: 0, mode: 0o644 },
  "system/etc/install-recovery.sh": { uid: 0, gid: 0, mode: 0o544 },
});

interface Node {
  readonly name: string;
  readonly children: Map<string, Node>;
  folder: boolean;
  metadata: FileMetadata;
  best?: SubtreeMetadata;
}

/** How often one tuple occurs below a folder. `dmode` or `fmode` is absent. */
interface Count {
  readonly uid: number;
  readonly gid: number;
  readonly dmode?: number;
  readonly fmode?: number;
  readonly selabel?: string;
  readonly capabilities?: string;
  count: number;
}

function byteOrder(a: string, b: string): number {
  return compareBytes(encodeText(a), encodeText(b));
}

function buildTree(tree: TreeName, names: Iterable<string>, metadata: ReadonlyMap<string, FileMetadata>): Node {
  const describe = (name: string): FileMetadata => {
    const found = GENERATED_METADATA[name] ?? metadata.get(name);
    if (found === undefined) {
      throw new OtaError("ANDROID_NO_METADATA", {
        what: "a packaged file has no owner and mode",
        where: printable(name),
        hint: `Add a line for it to ${TREE_CONFIG[tree]}.`,
      });
    }
    return found;
  };
  const root: Node = { name: tree, children: new Map(), folder: true, metadata: describe(tree) };
  for (const name of names) {
    const folder = name.endsWith("/");
    const parts = (folder ? name.slice(0, -1) : name).split("/").slice(1);
    let node = root;
    for (const [i, part] of parts.entries()) {
      let child = node.children.get(part);
      const path = `${node.name}/${part}`;
      if (child === undefined) {
        child = { name: path, children: new Map(), folder: folder || i < parts.length - 1, metadata: describe(path) };
        node.children.set(part, child);
      } else if (i < parts.length - 1) child.folder = true;
      node = child;
    }
  }
  return root;
}

function keyOf(c: Omit<Count, "count">): string {
  return [c.uid, c.gid, c.dmode ?? "", c.fmode ?? "", c.selabel ?? "\0", c.capabilities ?? "\0"].join("\n");
}

/** Counts tuples of a folder and everything below it, and decides on the folder's best statement. */
function decide(node: Node): Map<string, Count> {
  const counts = new Map<string, Count>();
  const add = (c: Omit<Count, "count">, n: number): void => {
    const key = keyOf(c);
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { ...c, count: n });
    else known.count += n;
  };
  const { mode: dmode, ...own } = node.metadata;
  add({ ...own, dmode }, 1);
  for (const child of node.children.values()) {
    if (child.folder) for (const c of decide(child).values()) add(c, c.count);
    else {
      const { mode: fmode, ...rest } = child.metadata;
      add({ ...rest, fmode }, 1);
    }
  }
  const owners = new Map<string, { uid: number; gid: number; count: number }>();
  for (const c of counts.values()) {
    const key = `${c.uid} ${c.gid}`;
    const known = owners.get(key);
    if (known === undefined) owners.set(key, { uid: c.uid, gid: c.gid, count: c.count });
    else known.count += c.count;
  }
  // Highest count; on a tie the numerically larger pair.
  const owner = [...owners.values()].reduce((a, b) =>
    (b.count - a.count || b.uid - a.uid || b.gid - a.gid) > 0 ? b : a,
  );
  // The original judges every value by the count of one full tuple, in an order that is not fixed; ours is that of the keys.
  const of = [...counts.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, c]) => c)
    .filter((c) => c.uid === owner.uid && c.gid === owner.gid);
  const popular = <T>(pick: (c: Count) => T | undefined, start: T): T => {
    let best = start;
    let most = 0;
    for (const c of of) {
      const value = pick(c);
      if (value !== undefined && c.count >= most) {
        most = c.count;
        best = value;
      }
    }
    return best;
  };
  const selabel = popular<string | undefined>((c) => c.selabel, undefined);
  const capabilities = popular<string | undefined>((c) => c.capabilities, undefined);
  node.best = {
    uid: owner.uid,
    gid: owner.gid,
    dmode: popular((c) => c.dmode, 0o755),
    fmode: popular((c) => c.fmode, 0o644),
    ...(selabel === undefined ? {} : { selabel }),
    ...(capabilities === undefined ? {} : { capabilities }),
  };
  return counts;
}

function sameSubtree(a: SubtreeMetadata | undefined, b: SubtreeMetadata): boolean {
  return (
    a !== undefined &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.dmode === b.dmode &&
    a.fmode === b.fmode &&
    a.selabel === b.selabel &&
    a.capabilities === b.capabilities
  );
}

function covered(m: FileMetadata, folder: boolean, by: SubtreeMetadata): boolean {
  return (
    m.uid === by.uid &&
    m.gid === by.gid &&
    m.mode === (folder ? by.dmode : by.fmode) &&
    m.selabel === by.selabel &&
    m.capabilities === by.capabilities
  );
}

/**
 * Writes the statements for a tree and everything below it.
 * @param generated packaged files that the build does not have (`system/etc/install-recovery.sh`)
 * @param skip paths for which no single statement is written
 * @throws OtaError ANDROID_NO_METADATA
 */
export function writePermissions(
  script: Script,
  tree: FileTree,
  generated: readonly string[],
  skip: ReadonlySet<string> = new Set(),
): void {
  const root = buildTree(tree.name, [...tree.files.map((f) => f.name), ...generated], tree.metadata);
  decide(root);
  const walk = (node: Node, current: SubtreeMetadata | undefined): void => {
    let now = current;
    if (node.folder) {
      const best = node.best as SubtreeMetadata;
      if (!sameSubtree(now, best)) {
        script.setMetadataRecursive(`/${node.name}`, best);
        now = best;
      }
    }
    if (now === undefined || (!covered(node.metadata, node.folder, now) && !skip.has(node.name))) {
      script.setMetadata(`/${node.name}`, node.metadata);
    }
    const children = [...node.children.values()].sort((a, b) => byteOrder(a.name, b.name));
    for (const child of children) walk(child, now);
  };
  walk(root, undefined);
}
