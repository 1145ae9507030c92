// The index of the episodes: a column for each property, and where an episode's turns are.

import { packed } from "report/packed";

let loaded = null;

/** The index, with lookups of its places. */
export function index() {
  loaded ??= packed(1).then((columns) => {
    const count = columns.where?.length ?? 0;
    const places = new Map();
    const tests = new Map();
    for (let i = 0; i < count; i++) {
      places.set(columns.where[i], i);
      if (columns.kind[i] !== "evaluate") continue;
      const key = testKey(columns.stage[i], columns.environment[i], columns.task[i]);
      if (!tests.has(key)) tests.set(key, []);
      tests.get(key).push(i);
    }
    return { columns, count, places, tests };
  });
  return loaded;
}

export const testKey = (stage, environment, task) => `${stage}\n${environment}\n${task}`;

/** The turns of an episode. */
export async function episode(place) {
  const { columns } = await index();
  const chunk = await packed(columns.chunk[place]);
  return chunk[columns.place[place]];
}

/** How an episode ended, in words. */
export function outcome(columns, place) {
  if (columns.fault[place]) return "fault";
  return columns.success[place] ? "solved" : "not solved";
}
