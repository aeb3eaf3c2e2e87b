/**
 * A planted bug, run inside the laboratory's machine: the real installer on a card that writes in the wrong order. The version
 * block reaches the card, flushed, while the contents it stands for still wait in memory. A replay that does not find it is
 * worth nothing.
 */
import { openFileReader } from "/app/dist/device/file-reader.js";
import { openDevice } from "/app/dist/device/index.js";
import { createOta, openCard } from "/app/dist/k230/index.js";

/** Version blocks of the laboratory's card. */
const META = { from: 0xf0000, to: 0xf0800 };

function wrongOrder(target) {
  const waiting = [];
  return {
    ...target,
    async read(offset, length) {
      const bytes = Uint8Array.from(await target.read(offset, length));
      for (const write of waiting) {
        const from = Math.max(offset, write.offset);
        const to = Math.min(offset + length, write.offset + write.bytes.length);
        if (from < to) bytes.set(write.bytes.subarray(from - write.offset, to - write.offset), from - offset);
      }
      return bytes;
    },
    readInto: undefined,
    async write(offset, bytes) {
      if (offset >= META.from && offset < META.to) return target.write(offset, bytes);
      waiting.push({ offset, bytes: Uint8Array.from(bytes) });
    },
    async close() {
      for (const { offset, bytes } of waiting) await target.write(offset, bytes);
      await target.flush();
      await target.close();
    },
  };
}

export async function install({ device: description, image }) {
  const device = await openDevice(description);
  const card = await openCard(device, {});
  const target = wrongOrder(card.target);
  const reader = await openFileReader(image);
  const ota = await createOta({ ...card, target }, { profile: "safe" });
  const { outcome } = await ota.writeFile(reader, 65536);
  await target.close();
  await reader.close();
  return outcome;
}
