/** {@link BlockMemory} in the device's state: one record, written with every command of a version 1 or 2 list. */
import { toHex } from "../../core/bytes.ts";
import type { Device } from "../../core/ports.ts";
import { openJournal } from "../../device/journal.ts";
import { toLatin1 } from "../latin1.ts";
import type { BlockMemory } from "./host.ts";

interface Remembered {
  /** Digest of the package's directory: answers of one package mean nothing to another. */
  readonly package: string;
  /** Commands done, by digest of device name and list. */
  readonly done: Readonly<Record<string, number>>;
  /** Answers given before the first write. */
  readonly answers: Readonly<Record<string, string>>;
}

/** Opens what is remembered of the package; nothing is written before a block update begins. */
export async function openBlockMemory(device: Device, packageId: string): Promise<BlockMemory> {
  const record = openJournal<Remembered>(device.state, "android-blocks");
  const found = await record.load();
  const before = found?.package === packageId ? found : undefined;
  let state: Remembered = before ?? { package: packageId, done: {}, answers: {} };
  const save = async (next: Remembered): Promise<void> => {
    state = next;
    await record.save(next);
  };
  return {
    async recall(question) {
      return before?.answers[question];
    },
    note(question, answer) {
      if (Object.keys(state.done).length === 0) {
        state = { ...state, answers: { ...state.answers, [question]: answer } };
      }
    },
    async forget() {
      if (found !== undefined || Object.keys(state.done).length > 0) await record.clear();
    },
    journal(name, list) {
      const digest = device.digests.create("sha256");
      digest.update(toLatin1(`${name}\n`));
      digest.update(list);
      const key = toHex(digest.digest());
      return {
        load: async () => (state.done[key] === undefined ? undefined : { done: state.done[key] }),
        save: ({ done }) => save({ ...state, done: { ...state.done, [key]: done } }),
      };
    },
  };
}
