import { setImmediate } from "node:timers/promises";
import { expect, it } from "vitest";
import { atOnce } from "./at-once.ts";

it("begins in order, and has no more under way than it may", async () => {
  const begun: number[] = [];
  let running = 0;
  let most = 0;
  await atOnce([3, 1, 2, 0, 5], 2, async (turns, index) => {
    begun.push(index);
    most = Math.max(most, ++running);
    for (let i = 0; i < turns; i++) await setImmediate();
    running--;
  });
  expect(begun).toEqual([0, 1, 2, 3, 4]);
  expect(most).toBe(2);
});

it("tells the failure of the item in front, waits for what is under way, and begins nothing more", async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  const all = atOnce([2, 0, 5, 1, 1], 3, async (turns, index) => {
    begun.push(index);
    for (let i = 0; i < turns; i++) await setImmediate();
    ended.push(index);
    if (index < 2) throw new Error(`item ${index}`);
  });
  await expect(all).rejects.toThrow("item 0");
  expect(begun).toEqual([0, 1, 2]);
  expect(ended).toContain(2);
  await atOnce([], 3, () => Promise.reject(new Error("never")));
});
