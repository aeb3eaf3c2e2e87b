/** Work on a list, several items at once, results in the list's order. */
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";

/** At most `jobs` calls of `work` run at once; a result is given as soon as all before it were. @throws OtaError CANCELLED */
export async function* inOrder<T, R>(
  items: readonly T[],
  jobs: number,
  work: (item: T, index: number) => Promise<R>,
  cancel?: Cancel,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  let next = 0;
  try {
    for (let given = 0; given < items.length; given++) {
      checkCancel(cancel);
      while (next < items.length && next - given < Math.max(1, jobs)) {
        const one = work(items[next] as T, next);
        // A failure is told when its turn comes; until then nobody waits for it.
        one.catch(() => undefined);
        running.push(one);
        next++;
      }
      yield await (running.shift() as Promise<R>);
    }
  } finally {
    await Promise.allSettled(running);
  }
}
