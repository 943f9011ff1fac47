// Which action held keys mean; the same as rlsys/viewer/playing/keys.py, whose `table` says what is what.
const none = (action) => action.every((value) => value === 0);

function makeActions(table) {
  return { actions: wordActions, choices: choiceActions, numbers: numberActions }[table.kind](table);
}

function wordActions({ words, opposites, known, count, noop }) {
  return {
    noop: () => [noop],
    restart: () => {},
    show: () => "",
    action(keys) {
      const numbers = [...keys].filter((key) => /^[0-9]$/.test(key)).map(Number);
      if (numbers.length) return Math.min(...numbers) < count ? [Math.min(...numbers)] : null;
      const meant = new Set([...keys].flatMap((key) => words[key] ?? []));
      for (const pair of opposites) if (pair.every((word) => meant.has(word))) pair.forEach((word) => meant.delete(word));
      let best = null;
      for (const [chord, action] of known)
        if (chord.every((word) => meant.has(word)) && chord.length > (best?.[0].length ?? -1)) best = [chord, action];
      return best && [best[1]];
    },
  };
}

function choiceActions({ options, noop }) {
  return {
    noop: () => [...noop],
    restart: () => {},
    show: (action) => action.join(" "),
    action(keys) {
      const chosen = [...keys].map((key) => options[key]).filter(Boolean);
      const action = [...noop];
      for (const [choice, option] of chosen) action[choice] = action[choice] ? Math.min(action[choice], option) : option;
      return chosen.length ? action : null;
    },
  };
}

function numberActions({ pairs, home_key, home, step, low, high, down, up, whole }) {
  const moves = home.map(() => 0);
  const clip = (value, least, most) => Math.max(least ?? -Infinity, Math.min(most ?? Infinity, value));
  const now = () => home.map((value, index) => {
    const number = clip(value + moves[index] * step[index], low[index], high[index]);
    return whole ? Math.trunc(number) : number;
  });
  return {
    noop: now,
    restart: () => moves.fill(0),
    show: (action) => action.slice(0, pairs.length).map((value) => (value < 0 ? "" : "+") + value.toFixed(2)).join(" ")
      + (action.length > pairs.length ? " …" : ""),
    action(keys) {
      const directions = home.map((_, index) => pairs[index] ? keys.has(pairs[index][1]) - keys.has(pairs[index][0]) : 0);
      if (none(directions) && !keys.has(home_key)) return null;
      if (keys.has(home_key)) moves.fill(0);
      directions.forEach((direction, index) => {
        moves[index] = clip(moves[index] + direction, down[index] === null ? null : -down[index], up[index]);
      });
      return now();
    },
  };
}
