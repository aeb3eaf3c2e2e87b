/**
 * apply_patch and apply_patch_check, formats/android.md sections 6.2 and 6.3.
 *
 * Unlike the original, nothing is destroyed before its replacement is proven: a patch is checked as a whole before the source
 * goes, the copy on /cache stays until the target was read back, and a partition whose write was torn is patched from that
 * copy. The `vendor` profile gives the original's results where they differ.
 */
import { applyBsdiff40, applyImgdiff2 } from "../../delta/index.ts";
import { isOtaError } from "../../core/errors.ts";
import type { BlockTarget, ByteStream, Digest, RandomReader } from "../../core/ports.ts";
import { memoryReader, streamRange } from "../../core/streams.ts";
import { toHex } from "../../core/bytes.ts";
import { fromLatin1 } from "../latin1.ts";
import { devicePath, failureText, findMtd, holds, openTarget, parentOf, writeStream } from "../updater/device-files.ts";
import { writeMtd } from "../updater/mtd.ts";
import { dropSaved, makeFreeSpace, saveSource } from "./cache.ts";
import { isPartitionName, loadContents, parsePartitionName, parseSha1, SAVED_FILE } from "./contents.ts";
import type { LoadContext, LoadedContents } from "./contents.ts";
import { withScratchCore } from "./scratch-core.ts";

export interface PatchContext extends LoadContext {
  readonly profile: "safe" | "vendor";
  /** Files that must not be deleted to make room: the package. */
  readonly keep: ReadonlySet<string>;
  /** Brings earlier changes of names and attributes to the medium. */
  settle(): Promise<void>;
}

/** A patch and the SHA-1 of the source it is for. */
export interface PatchChoice {
  readonly sha1: string;
  /** The patch; undefined when it could not be read. */
  patch(): Promise<Uint8Array | undefined>;
}

export interface PatchRequest {
  readonly source: string;
  /** `-`: the source. */
  readonly target: string;
  /** SHA-1 of the result. */
  readonly sha1: string;
  /** Bytes of the result, as the script states it. */
  readonly size: number;
  readonly choices: readonly PatchChoice[];
  /** Appended to the expanded source of chunk 1 of an IMGDIFF2 patch. */
  readonly bonus?: Uint8Array;
}

const short = (sha1: string): string => sha1.slice(0, 8);

function choose(choices: readonly PatchChoice[], loaded: LoadedContents | undefined): PatchChoice | undefined {
  return loaded === undefined ? undefined : choices.find((c) => parseSha1(c.sha1) === loaded.sha1);
}

/** Whether a file or partition, or the copy on /cache, has one of the digests. */
export async function checkPatchSource(
  context: PatchContext,
  name: string,
  sha1s: readonly string[],
): Promise<boolean> {
  const matches = (loaded: LoadedContents, list: readonly string[]): boolean =>
    list.some((text) => parseSha1(text) === loaded.sha1);
  const loaded = await loadContents(context, name);
  await loaded?.close();
  if (loaded !== undefined && (sha1s.length === 0 || matches(loaded, sha1s))) return true;
  context.log(`file "${name}" doesn't have any of expected sha1 sums; checking cache\n`);
  const copy = await loadContents(context, SAVED_FILE);
  await copy?.close();
  if (copy === undefined) {
    context.log("failed to load cache file\n");
    return false;
  }
  // A partition's name carries its digests; only the safe profile takes them for the copy as well, which is what lets a
  // package of 4.4 be run again after a torn write of the partition.
  const own =
    context.profile === "safe" && isPartitionName(name) ? parsePartitionName(name).pairs.map((p) => p.sha1) : [];
  if (matches(copy, sha1s.length > 0 ? sha1s : own)) return true;
  context.log(`cache bits don't match any sha1 for "${name}"\n`);
  return false;
}

/** The result of a patch as a stream; undefined for an unknown format. */
function openPatch(source: RandomReader, patch: Uint8Array, bonus: Uint8Array | undefined): ByteStream | undefined {
  const magic = fromLatin1(patch.subarray(0, 8));
  if (magic === "BSDIFF40") return withScratchCore((core) => applyBsdiff40(source, memoryReader(patch), { core }));
  if (magic !== "IMGDIFF2") return undefined;
  return withScratchCore((core) =>
    applyImgdiff2(source, memoryReader(patch), { core, ...(bonus === undefined ? {} : { bonus }) }),
  );
}

/** Passes a stream on and gives it to a digest. */
async function* through(stream: ByteStream, digest: Digest): ByteStream {
  for await (const chunk of stream) {
    digest.update(chunk);
    yield chunk;
  }
}

class Patching {
  readonly #context: PatchContext;
  readonly #request: PatchRequest;
  readonly #target: string;
  readonly #sha1: string;
  readonly #open: LoadedContents[] = [];
  #madeCopy = false;

  constructor(context: PatchContext, request: PatchRequest, sha1: string) {
    this.#context = context;
    this.#request = request;
    this.#target = request.target === "-" ? request.source : request.target;
    this.#sha1 = sha1;
  }

  async #load(name: string): Promise<LoadedContents | undefined> {
    const loaded = await loadContents(this.#context, name);
    if (loaded !== undefined) this.#open.push(loaded);
    return loaded;
  }

  async close(): Promise<void> {
    for (const loaded of this.#open) await loaded.close();
  }

  async run(): Promise<boolean> {
    const { log } = this.#context;
    const { choices, source } = this.#request;
    let from = await this.#load(this.#target);
    if (from?.sha1 === this.#sha1) {
      log(`already ${short(this.#sha1)}\n`);
      await this.#forgetOwnCopy();
      return true;
    }
    if (from === undefined || this.#target !== source) from = await this.#load(source);
    const direct = choose(choices, from);
    if (from !== undefined && direct !== undefined) return this.#make(from, direct, true);
    log("source file is bad; trying copy\n");
    const copy = await this.#load(SAVED_FILE);
    if (copy === undefined) {
      log("failed to read copy file\n");
      return false;
    }
    const choice = choose(choices, copy);
    if (choice === undefined) {
      log("copy file doesn't match source SHA-1s either\n");
      return false;
    }
    if (this.#context.profile === "vendor" && isPartitionName(this.#target)) return this.#destroyCopy(from);
    return this.#make(copy, choice, false);
  }

  /** 4.4 saves the unreadable source over the good copy and gives up. */
  async #destroyCopy(from: LoadedContents | undefined): Promise<boolean> {
    const { log, device } = this.#context;
    if (from === undefined) {
      log("failed to back up source file\n");
      const file = await device.files.open(SAVED_FILE, "create", 0o600);
      await file.close();
      return false;
    }
    await saveSource(this.#context, streamRange(from.reader));
    log("failed to back up source file\n");
    return false;
  }

  /** A copy that an interrupted run left behind, once its work is done. */
  async #forgetOwnCopy(): Promise<void> {
    const { profile, device } = this.#context;
    if (profile !== "safe" || (await device.files.stat(SAVED_FILE)) === undefined) return;
    const copy = await loadContents({ device, log: () => undefined }, SAVED_FILE);
    await copy?.close();
    if (choose(this.#request.choices, copy) !== undefined) await dropSaved(this.#context);
  }

  async #make(from: LoadedContents, choice: PatchChoice, direct: boolean): Promise<boolean> {
    const { log } = this.#context;
    await this.#context.settle();
    let patch: Uint8Array | undefined;
    try {
      patch = await choice.patch();
    } catch (e) {
      log(`failed to read the patch: ${failureText(e)}\n`);
    }
    if (patch === undefined) {
      log("patch is not a blob\n");
      return false;
    }
    return isPartitionName(this.#target) ? this.#toPartition(from, patch, direct) : this.#toFile(from, patch, direct);
  }

  /** A patch's failure in the log; power cuts and interrupts go on. */
  #patchFailed(e: unknown): void {
    failureText(e);
    if (isOtaError(e)) this.#context.log(`${e.message}\n`);
  }

  async #toFile(from: LoadedContents, patch: Uint8Array, direct: boolean): Promise<boolean> {
    const { device, log, profile } = this.#context;
    const { files } = device;
    const target = devicePath(this.#target);
    const output = `${target}.patch`;
    let source = from;
    for (let retry = 1; ; retry--) {
      let enough = false;
      if (retry > 0) {
        const { freeBytes } = await files.space(target);
        enough = freeBytes > 256 * 1024 && freeBytes > Math.floor((this.#request.size * 3) / 2);
        if (!enough) {
          log(
            `target ${this.#request.size} bytes; free space ${freeBytes} bytes; retry ${retry}; enough ${Number(enough)}\n`,
          );
          retry = 0;
        }
      }
      if (!enough && direct && !this.#madeCopy) {
        if (isPartitionName(this.#request.source)) {
          log("not enough free space for target but source is partition\n");
          return false;
        }
        // Nothing is deleted for a patch that will fail anyway.
        if (profile === "safe" && !(await this.#dryRun(source.reader, patch))) return false;
        const copy = await this.#keepSource(source);
        if (copy === undefined) return false;
        const { owner } = source;
        source = { ...copy, owner };
        await files.remove(devicePath(this.#request.source));
        await files.syncFolder(parentOf(devicePath(this.#request.source)));
        log(`(now ${(await files.space(target)).freeBytes} bytes free for target) `);
      }
      const digest = device.digests.create("sha1");
      let made = false;
      const file = await files.open(output, "create", 0o600);
      try {
        const result = openPatch(source.reader, patch, this.#request.bonus);
        if (result === undefined) {
          log("Unknown patch file format\n");
          return false;
        }
        await file.truncate(await writeStream(file, through(result, digest)));
        await file.sync();
        made = true;
      } catch (e) {
        this.#patchFailed(e);
      } finally {
        await file.close();
      }
      if (!made) {
        if (retry <= 0) {
          log("applying patch failed\n");
          return false;
        }
        log("applying patch failed; retrying\n");
        await files.remove(output);
        if (profile === "safe" && direct) {
          // What the original retries for is room; a patch that does not fit its source fails again.
          const { freeBytes } = await files.space(target);
          if (freeBytes > this.#request.size + 256 * 1024) return false;
        }
        continue;
      }
      if (toHex(digest.digest()) !== this.#sha1) {
        log("patch did not produce expected sha1\n");
        return false;
      }
      log(`now ${short(this.#sha1)}\n`);
      return this.#replaceFile(source, output, target);
    }
  }

  async #replaceFile(source: LoadedContents, output: string, target: string): Promise<boolean> {
    const { device, log, profile } = this.#context;
    const { files } = device;
    try {
      const { mode, uid, gid } = source.owner;
      const original = devicePath(this.#request.source);
      // The original forgets label and capabilities, so that its result differs from a full package's.
      const kept =
        profile === "safe" && (await files.stat(original))?.kind === "file" ? await files.attributes(original) : {};
      await files.setAttributes(output, {
        ...("selinuxLabel" in kept ? { selinuxLabel: kept.selinuxLabel } : {}),
        ...("capabilities" in kept ? { capabilities: kept.capabilities } : {}),
        mode,
        uid,
        gid,
      });
      await files.rename(output, target);
      await files.syncFolder(parentOf(target));
    } catch (e) {
      log(`rename of .patch to "${this.#target}" failed: ${failureText(e)}\n`);
      return false;
    }
    if (this.#madeCopy) await dropSaved(this.#context);
    else await this.#forgetOwnCopyOf(source);
    return true;
  }

  async #forgetOwnCopyOf(source: LoadedContents): Promise<void> {
    // Used, not made by this run: the original leaves it, the safe profile tidies up once its work is done.
    if (this.#context.profile === "safe" && this.#open.some((o) => o === source)) await this.#forgetOwnCopy();
  }

  /** Whether the patch gives the promised result. */
  async #dryRun(source: RandomReader, patch: Uint8Array): Promise<boolean> {
    const { device, log } = this.#context;
    const result = openPatch(source, patch, this.#request.bonus);
    if (result === undefined) {
      log("Unknown patch file format\n");
      return false;
    }
    const digest = device.digests.create("sha1");
    try {
      for await (const chunk of result) digest.update(chunk);
    } catch (e) {
      this.#patchFailed(e);
      log("applying patch failed\n");
      return false;
    }
    if (toHex(digest.digest()) === this.#sha1) return true;
    log("patch did not produce expected sha1\n");
    return false;
  }

  /**
   * The source on the cache, read back; undefined, with the reason in the log, when it cannot be kept there. In the safe profile a
   * copy of it that an interrupted run left serves again: the cache may have no room for a second one.
   */
  async #keepSource(source: LoadedContents): Promise<LoadedContents | undefined> {
    const { log, keep, profile, device } = this.#context;
    const left = profile === "safe" ? await loadContents({ device, log: () => undefined }, SAVED_FILE) : undefined;
    const serves = left?.sha1 === source.sha1;
    await left?.close();
    // A killed run may have renamed the copy without flushing its name.
    if (serves) await device.files.syncFolder("/cache");
    else {
      if (!(await makeFreeSpace(this.#context, source.reader.size, keep))) {
        log("not enough free space on /cache\n");
        return undefined;
      }
      try {
        await saveSource(this.#context, streamRange(source.reader));
      } catch (e) {
        log(`failed to back up source file: ${failureText(e)}\n`);
        return undefined;
      }
    }
    this.#madeCopy = true;
    const copy = await this.#load(SAVED_FILE);
    if (copy?.sha1 === source.sha1) return copy;
    log("failed to back up source file\n");
    return undefined;
  }

  async #toPartition(from: LoadedContents, patch: Uint8Array, direct: boolean): Promise<boolean> {
    const { log } = this.#context;
    // The result is made twice: once to know that it is right, once to be written.
    let source = from;
    if (direct) {
      const copy = await this.#keepSource(from);
      if (copy === undefined) return false;
      source = copy;
    }
    if (!(await this.#dryRun(source.reader, patch))) return false;
    log(`now ${short(this.#sha1)}\n`);
    const result = (): ByteStream => openPatch(source.reader, patch, this.#request.bonus) as ByteStream;
    let written = false;
    try {
      written = await this.#writePartition(result);
    } catch (e) {
      log(`${failureText(e)}\n`);
    }
    if (!written) {
      log(`write of patched data to ${this.#target} failed\n`);
      return false;
    }
    if (this.#madeCopy) await dropSaved(this.#context);
    else await this.#forgetOwnCopyOf(source);
    return true;
  }

  async #writePartition(result: () => ByteStream): Promise<boolean> {
    const { device, log } = this.#context;
    const { type, partition } = parsePartitionName(this.#target);
    if (type === "MTD") {
      const node = await findMtd(device, partition);
      if (node === undefined) {
        log(`mtd partition "${partition}" not found for writing\n`);
        return false;
      }
      await writeMtd(device, node, result());
      return true;
    }
    const path = devicePath(partition);
    for (let attempt = 1; attempt <= 2; attempt++) {
      const target: BlockTarget = await openTarget(device, path, "write");
      try {
        await writeStream(target, result());
        await target.flush();
      } finally {
        await target.close();
      }
      log("  caches dropped\n");
      const again = await openTarget(device, path, "read");
      try {
        if (await holds(again, result())) {
          log(`verification read succeeded (attempt ${attempt})\n`);
          return true;
        }
      } finally {
        await again.close();
      }
    }
    log("failed to verify after all attempts\n");
    return false;
  }
}

/** Patches a file or partition. True when it has the wanted content afterwards; reasons are in the log. */
export async function applyPatch(context: PatchContext, request: PatchRequest): Promise<boolean> {
  context.log(`patch ${request.source}: `);
  const sha1 = parseSha1(request.sha1);
  if (sha1 === undefined) {
    context.log(`failed to parse tgt-sha1 "${request.sha1}"\n`);
    return false;
  }
  const patching = new Patching(context, request, sha1);
  try {
    return await patching.run();
  } catch (e) {
    context.log(`${failureText(e)}\n`);
    return false;
  } finally {
    await patching.close();
  }
}
