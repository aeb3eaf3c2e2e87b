/**
 * What a device holds, as far as a rehearsal judges it: nodes, volumes, files; not the journals.
 * Taken once of the old and the new system and compared after every cut, so equal pages are recognised without reading them.
 */
import { equalBytes } from "../../core/index.ts";
import type { World } from "./machine.ts";
import { BlockMedium } from "./block-medium.ts";
import { FileSystemMedium } from "./file-system-medium.ts";
import type { Inode } from "./file-system-medium.ts";
import { FlashMedium } from "./flash-medium.ts";
import type { Medium } from "./medium.ts";
import { samePages } from "./paged-bytes.ts";
import type { PagedBytes } from "./paged-bytes.ts";
import { UbiMedium } from "./ubi-medium.ts";
import type { UbiVolume } from "./ubi-medium.ts";

/** Where content differs, for people. */
export type Difference = string;

/** Numbers of the good erase blocks: content lies on them in this order. */
function goodBlocks({ bad, content, geometry }: FlashMedium): number[] {
  const count = Math.floor(content.size / geometry.eraseSize);
  return Array.from({ length: count }, (_, n) => n).filter((n) => !bad.has(n));
}

/**
 * A block that went bad moves everything behind it. What the update changed is compared block by block in the order in which a
 * reader that skips bad blocks sees it; behind that nothing was written, and nothing is promised.
 */
function compareMoved(a: FlashMedium, b: FlashMedium, before: FlashMedium): string | undefined {
  const { eraseSize } = a.geometry;
  const [found, wanted] = [goodBlocks(a), goodBlocks(b)];
  const changed = wanted.map((n) => !samePages(b.content, before.content, n * eraseSize, eraseSize)).lastIndexOf(true);
  for (let i = 0; i <= changed; i++) {
    const [from, to] = [found[i], wanted[i]];
    if (from === undefined || to === undefined) return "has too many bad blocks";
    const bytes = b.content.read(to * eraseSize, eraseSize);
    if (!equalBytes(a.content.read(from * eraseSize, eraseSize), bytes)) return "differs";
  }
  return undefined;
}

function compareFlash(a: FlashMedium, b: FlashMedium, before: Medium | undefined): string | undefined {
  if (a.unreadable.size > 0) return "has pages that cannot be read";
  const sameBad = a.bad.size === b.bad.size && [...a.bad].every((block) => b.bad.has(block));
  if (!sameBad && before instanceof FlashMedium) return compareMoved(a, b, before);
  const { eraseSize } = a.geometry;
  for (let at = 0; at < a.content.size; at += eraseSize) {
    const block = at / eraseSize;
    if (a.bad.has(block) || b.bad.has(block)) continue;
    if (!samePages(a.content, b.content, at, eraseSize)) return "differs";
  }
  return undefined;
}

/** Volumes are known by name: an installer may fill another one and exchange the names. */
function compareUbi(a: UbiMedium, b: UbiMedium): string | undefined {
  const byName = (medium: UbiMedium): Map<string, UbiVolume> =>
    new Map([...medium.volumes.values()].map((v) => [v.name, v]));
  const volumes = byName(a);
  for (const [name, wanted] of byName(b)) {
    const volume = volumes.get(name);
    if (volume === undefined) return `${name} is missing`;
    if (volume.updating) return `${name} is damaged by an unfinished update`;
    if (wanted.updating) continue;
    if (volume.used !== wanted.used || !samePages(volume.content, wanted.content, 0, wanted.used)) {
      return `${name} differs`;
    }
  }
  return undefined;
}

function compareInode(a: Inode, b: Inode): string | undefined {
  if (a.kind !== b.kind) return "is of another kind";
  if (a.text !== b.text) return "links to something else";
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid) return "has another mode or owner";
  if (a.selinuxLabel !== b.selinuxLabel || a.capabilities !== b.capabilities) return "has another label";
  if (a.content.size !== b.content.size || !samePages(a.content, b.content, 0, b.content.size)) return "differs";
  return undefined;
}

interface Listing {
  readonly paths: ReadonlyMap<string, number>;
}

function listing(fs: FileSystemMedium): Listing {
  const paths = new Map<string, number>();
  const visit = (ino: number, path: string): void => {
    for (const [name, child] of fs.inode(ino)?.entries ?? []) {
      paths.set(`${path}/${name}`, child);
      visit(child, `${path}/${name}`);
    }
  };
  visit(fs.root, "");
  return { paths };
}

function lookUp(fs: FileSystemMedium, path: string): Inode | undefined {
  let ino: number | undefined = fs.root;
  for (const part of path.split("/").slice(1)) {
    if (ino === undefined) return undefined;
    ino = fs.inode(ino)?.entries.get(part);
  }
  return ino === undefined ? undefined : fs.inode(ino);
}

/** What a device should hold. */
export class ExpectedContent {
  readonly #media: readonly Medium[];
  readonly #others: readonly Medium[];
  readonly #names: readonly (string | undefined)[];
  readonly #listings: readonly (Listing | undefined)[];
  readonly #absent: readonly (readonly string[])[];

  /**
   * @param world the content wanted
   * @param names what to call each medium; undefined for one that is not judged
   * @param other the content before or after: its files that `world` does not have must not be there
   */
  constructor(world: World, names: readonly (string | undefined)[], other: World) {
    this.#media = world.fork().media;
    this.#others = other.fork().media;
    this.#names = names;
    this.#listings = this.#media.map((medium) => (medium instanceof FileSystemMedium ? listing(medium) : undefined));
    this.#absent = other.media.map((medium, i) => {
      const wanted = this.#listings[i];
      if (wanted === undefined || !(medium instanceof FileSystemMedium)) return [];
      return [...listing(medium).paths.keys()].filter((path) => !wanted.paths.has(path));
    });
  }

  /** The first difference of a device's content; undefined when there is none. Files that are in neither system do not count. */
  differs(world: World): Difference | undefined {
    for (let i = 0; i < this.#media.length; i++) {
      const name = this.#names[i];
      if (name === undefined) continue;
      const difference = this.#compare(i, world.media[i] as Medium, this.#media[i] as Medium);
      if (difference !== undefined) return `${name} ${difference}`;
    }
    return undefined;
  }

  #compare(index: number, a: Medium, b: Medium): string | undefined {
    if (a instanceof BlockMedium && b instanceof BlockMedium) return same(a.content, b.content) ? undefined : "differs";
    if (a instanceof FlashMedium && b instanceof FlashMedium) return compareFlash(a, b, this.#others[index]);
    if (a instanceof UbiMedium && b instanceof UbiMedium) return compareUbi(a, b);
    if (!(a instanceof FileSystemMedium) || !(b instanceof FileSystemMedium)) return "is of another kind";
    for (const [path, ino] of this.#listings[index]?.paths ?? []) {
      const inode = lookUp(a, path);
      if (inode === undefined) return `lacks ${path}`;
      const wanted = b.inode(ino) as Inode;
      const difference = inode === wanted ? undefined : compareInode(inode, wanted);
      if (difference !== undefined) return `${path} ${difference}`;
    }
    const stray = this.#absent[index]?.find((path) => lookUp(a, path) !== undefined);
    return stray === undefined ? undefined : `still has ${stray}`;
  }
}

const same = (a: PagedBytes, b: PagedBytes): boolean => a.size === b.size && samePages(a, b, 0, b.size);
