/** Builds of an invented A/B device, for tests of payloads: two images, one with a block map. */
import { createZipWriter, memorySink } from "../../src/core/zip/index.ts";
import { nodeCodecs as codecs } from "../../src/device/index.ts";

const BLOCK = 4096;

/** Bytes that compress a little, the same for the same seed. */
export function noise(size: number, seed: number): Uint8Array {
  const out = new Uint8Array(size);
  let x = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < size; i++) {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    out[i] = (x >>> 24) & (i % 7 < 3 ? 0x0f : 0xff);
  }
  return out;
}

function image(blocks: number): Uint8Array {
  return new Uint8Array(blocks * BLOCK);
}

function place(into: Uint8Array, block: number, bytes: Uint8Array): void {
  into.set(bytes, block * BLOCK);
}

/** A sparse image of the raw one: data, fill and don't-care chunks. */
export function sparse(raw: Uint8Array, careless: readonly (readonly [start: number, end: number])[]): Uint8Array {
  const blocks = raw.length / BLOCK;
  const chunks: Buffer[] = [];
  const chunk = (type: number, count: number, data: Uint8Array): void => {
    const head = Buffer.alloc(12);
    head.writeUInt16LE(type, 0);
    head.writeUInt32LE(count, 4);
    head.writeUInt32LE(12 + data.length, 8);
    chunks.push(Buffer.concat([head, data]));
  };
  for (let at = 0; at < blocks;) {
    const hole = careless.find(([start]) => start === at);
    if (hole !== undefined) {
      chunk(0xcac3, hole[1] - at, new Uint8Array(0));
      at = hole[1];
      continue;
    }
    const next = careless.map(([start]) => start).find((start) => start > at) ?? blocks;
    const end = Math.min(next, at + 37);
    chunk(0xcac1, end - at, raw.subarray(at * BLOCK, end * BLOCK));
    at = end;
  }
  const head = Buffer.alloc(28);
  head.writeUInt32LE(0xed26ff3a, 0);
  head.writeUInt16LE(1, 4);
  head.writeUInt16LE(28, 8);
  head.writeUInt16LE(12, 10);
  head.writeUInt32LE(BLOCK, 12);
  head.writeUInt32LE(blocks, 16);
  head.writeUInt32LE(chunks.length, 20);
  return Buffer.concat([head, ...chunks]);
}

export interface AbBuildFiles {
  /** target_files zip. */
  readonly zip: Uint8Array;
  readonly images: Readonly<Record<string, Uint8Array>>;
}

/** Two builds: files change, move and grow in `system`; `boot` changes a little. `minor`: PAYLOAD_MINOR_VERSION. */
export async function abBuild(which: "old" | "new", minor: number): Promise<AbBuildFiles> {
  const isNew = which === "new";
  const system = image(100);
  const app = noise(14 * BLOCK, 1);
  const lib = noise(9 * BLOCK, 2);
  place(system, 0, noise(BLOCK, 3));
  if (isNew) {
    app.set(noise(3000, 9), 20_000);
    app.copyWithin(40_000, 39_000, 45_000);
    lib[1000] = 7;
  }
  place(system, isNew ? 8 : 4, app);
  place(system, isNew ? 30 : 22, lib);
  place(system, 60, noise(3 * BLOCK, isNew ? 4 : 5));
  if (isNew) place(system, 80, new Uint8Array(Buffer.from("a readable text that packs well. ".repeat(600))));
  const map = isNew
    ? "/system/app/a.apk 8-21\n/system/lib/moved/l.so 30-38\n/system/etc/new 80-84\n"
    : "/system/app/a.apk 4-17\n/system/lib/l.so 22-30\n";
  const boot = image(24);
  place(boot, 0, noise(18 * BLOCK, 6));
  if (isNew) boot.set(noise(300, 8), 30_000);
  const sink = memorySink();
  const writer = createZipWriter(sink, { codecs });
  const add = (name: string, content: string | Uint8Array): Promise<unknown> =>
    writer.add({ name }, typeof content === "string" ? new Uint8Array(Buffer.from(content)) : content);
  await add("META/misc_info.txt", "recovery_api_version=3\nfstab_version=2\nab_update=true\n");
  await add("META/ab_partitions.txt", "boot\nsystem\n");
  await add("META/update_engine_config.txt", `PAYLOAD_MAJOR_VERSION=2\nPAYLOAD_MINOR_VERSION=${minor}\n`);
  await add(
    "META/postinstall_config.txt",
    "RUN_POSTINSTALL_system=true\nPOSTINSTALL_PATH_system=bin/post\nFILESYSTEM_TYPE_system=ext4\nPOSTINSTALL_OPTIONAL_system=true\n",
  );
  await add(
    "META/dynamic_partitions_info.txt",
    "super_partition_groups=main\nsuper_main_group_size=4194304\nsuper_main_partition_list=system\nvirtual_ab=true\n",
  );
  await add("META/care_map.pb", "care");
  const date = isNew ? 1_700_000_000 : 1_690_000_000;
  await add(
    "SYSTEM/build.prop",
    `# build\nro.product.device=twin\nro.build.fingerprint=acme/twin/twin:14/${which}:user/release-keys\n` +
      `ro.build.version.incremental=${which}\nro.build.date.utc=${date}\nro.build.date=then\n` +
      "ro.build.version.sdk=34\nro.build.version.security_patch=2024-01-05\nimport /x.prop\n",
  );
  await add("IMAGES/boot.img", boot);
  await add("IMAGES/system.img", sparse(system, [[90, 100]]));
  await add("IMAGES/system.map", map);
  await writer.finish();
  return { zip: sink.bytes(), images: { boot, system } };
}
