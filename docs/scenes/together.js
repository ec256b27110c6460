// Several scenes on one clock: the same clients before several servers. One sees at a glance who waits for whom.
//
// In a page:  <div class="scenes" data-scenes="three-1 three-2 …"><img src="scenes/….svg" alt="…"></div>
// The picture is for paper and for readers without JavaScript. `data-page2="…"` names another page for the scene of
// stage 2 than stage2.html.
"use strict";
(() => {

const { make, draw, standing, threads, blocker, fares, event, kind, load, folderOf, nameButton, attempt, isForPaper } =
  window.scenePlayer;

/**
 * The same clients before several servers. Servers take different numbers of steps, so the clock counts what the
 * clients do: at tick k each scene stands at its last step before the clients' deed k + 1. Actions that follow each
 * other before every server are one deed, or a client would seem to wait for a server that has had no time yet.
 */
class Together {
  constructor(root, scenes) {
    Object.assign(this, { root, scenes, tick: 0, timer: null, cards: [] });
    this.deeds = deeds(scenes.map(actions));
    this.ends = scenes.map((scene) => ticks(scene, this.deeds));
    this.count = this.deeds.length;
    root.append(this.build());
    root.classList.add("ready");
    root.tabIndex = 0;
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", "The same clients before several servers");
    root.addEventListener("keydown", (key) => this.onKey(key));
    new ResizeObserver(() => this.drawCards()).observe(root);
    // In the end all that has waited may have been served. What differs shows best shortly before.
    this.show(this.count - 2);
  }

  build() {
    const button = (name, sign, action) =>
      make("button", { type: "button", "aria-label": name, onclick: action }, sign);
    this.play = button("Play", "▶ Play", () => this.toggle());
    this.slider = make("input", { type: "range", min: 1, max: this.count, "aria-label": "Clients’ actions",
      oninput: () => { this.pause(); this.show(this.slider.value - 1); } });
    this.clock = make("span", { class: "count" });
    this.caption = make("p", { class: "caption", "aria-live": "polite" });
    this.cards = this.scenes.map((scene) => this.card(scene));
    return make("div", { class: "player" },
      make("div", { class: "controls" }, button("One action back", "◀", () => this.go(-1)), this.play,
        button("One action on", "Step ▶", () => this.go(1)), this.slider, this.clock),
      this.caption, make("div", { class: "cards" }, ...this.cards.map((card) => card.box)),
      make("p", { class: "key" }, ...KEY.flatMap(([how, words]) => [make("span", { class: `sign ${how}` }), words])));
  }

  card(scene) {
    const stage = /^stage(\d)/.exec(scene.program)?.[1];
    const page = this.root.dataset[`page${stage}`] ?? `${this.root.dataset.root}stage${stage}.html`;
    const picture = make("div", { class: "picture" });
    const server = make("p", { class: "server" });
    const title = make("a", { href: `${page}#${scene.name}.step=1` }, stage ? `Stage ${stage}` : scene.title);
    const about = stage ? scene.title.replace(/^.*? clients,? (and )?/, ": ") : "";
    const box = make("div", { class: "card", "data-card": scene.name },
      make("p", { class: "title" }, title, about), picture, server);
    return { box, picture, server };
  }

  toggle() {
    if (this.timer) return this.pause();
    if (this.tick === this.count - 1) this.show(0);
    nameButton(this.play, "❚❚", "Pause");
    this.timer = setInterval(() => {
      this.show(this.tick + 1);
      if (this.tick === this.count - 1) this.pause();
    }, 2000);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    nameButton(this.play, "▶", "Play");
  }

  go(by) {
    this.pause();
    this.show(this.tick + by);
  }

  onKey(key) {
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[key.key];
    if (by === undefined || key.altKey || key.ctrlKey || key.metaKey || key.shiftKey) return;
    key.preventDefault();
    key.stopPropagation();
    this.go(by);
  }

  show(tick) {
    this.tick = Math.max(0, Math.min(this.count - 1, tick));
    Object.assign(this.root.dataset, { step: this.tick + 1, steps: this.count });
    this.slider.value = this.tick + 1;
    this.clock.textContent = `${this.tick + 1} / ${this.count}`;
    const [scene] = this.scenes;
    // What a client finds there is another thing before each server.
    const does = (action) => event(scene, scene.steps[actions(scene)[action]])
      .replace(/ (reads|finds) .*/, " reads what is there");
    this.caption.textContent = this.deeds[this.tick].map(does).join(", ");
    this.slider.setAttribute("aria-valuetext", this.caption.textContent);
    this.drawCards();
  }

  drawCards() {
    this.scenes.forEach((scene, n) => {
      const { picture, server } = this.cards[n];
      const at = this.ends[n][Math.min(this.tick, this.ends[n].length - 1)];
      picture.replaceChildren(this.cardPicture(scene, this.ends[n], Math.max(220, picture.clientWidth)));
      const before = this.tick > 0 ? this.ends[n][this.tick - 1] : -1;
      server.textContent = serverDoes(scene, before + 1, at);
    });
  }

  /** A line for each client: how it has fared up to now, in words how it fares, and an arrow to whom it waits for. */
  cardPicture(scene, ends, width) {
    const [height, left, right] = [34, 22, width - 34];
    const x = (tick) => left + ((right - left) * tick) / this.count;
    const y = (row) => height * row + 21;
    const shown = ends.slice(0, this.tick + 1);
    const at = shown.at(-1);
    const rows = scene.clients.flatMap(({ name }, row) => {
      const fared = shown.map((end) => standing(scene.steps, end, name));
      const isOver = (tick) => OVER.includes(fared[tick]) && fared[tick] === fared[tick - 1];
      return [
        draw("text", { class: "lane", x: 0, y: y(row) + 5 }, name),
        draw("path", { class: "base", d: `M${left} ${y(row) + 9}H${right}` }),
        ...fared.flatMap((how, tick) => (isOver(tick) ? [] : [
          draw("rect", { class: `line ${how}`, x: x(tick), width: x(1) - x(0), y: y(row) + 6, height: 7 }),
          OVER.includes(how) ? draw("text", { class: "over", x: x(tick + 1) - 11, y: y(row) + 14 }, "✕") : null])),
        draw("text", { class: `fares ${fared.at(-1)}`, "data-fares": `${scene.name}.${name}`,
          x: left + 2, y: y(row) + 1 }, fares(scene, scene.steps, at, name))];
    });
    return draw("svg", { width, height: height * scene.clients.length + 4, role: "img",
      "aria-label": scene.clients.map(({ name }) => `${name}: ${fares(scene, scene.steps, at, name)}`).join(". ") },
      ...rows.filter(Boolean), ...this.waits(scene, at, width - 6, y));
  }

  waits(scene, at, x, y) {
    const row = (name) => scene.clients.findIndex((client) => client.name === name);
    return scene.clients.flatMap(({ name }) => {
      const other = standing(scene.steps, at, name) === "waits" ? blocker(scene, scene.steps, at, name) : null;
      if (!other) return [];
      const [from, to, side] = [y(row(name)), y(row(other)), x - 14 * row(name)];
      const way = Math.sign(to - from);
      return [draw("path", { class: "waits-for",
        d: `M${side} ${from}V${to}M${side - 5} ${to - 8 * way}L${side} ${to}L${side + 5} ${to - 8 * way}` })];
    });
  }
}

/** After these the server does nothing for a client any more. */
const OVER = ["cut", "parting"];

const KEY = [["silent", "silent"], ["waits", "waits"], ["served", "served"], ["stuck", "does not read"],
  ["cut", "cut off, or let go of ✕"]];

/** What the server does at a step, in a few words, and what has made it act since another one. */
function serverDoes(scene, since, at) {
  const { server } = scene.steps[at];
  const clock = scene.steps.slice(since, at + 1).filter((step) => step.who === "clock").map((step) => step.does);
  const owed = Object.entries(server?.outbox ?? {}).filter(([, bytes]) => bytes > 0);
  const keeps = owed.map(([name, bytes]) => `keeps ${bytes.toLocaleString("en")} bytes for ${name}`);
  return [...clock, where(threads(scene.steps, at)), ...keeps].join("; ");
}

/** Where the server sleeps, and for which client. */
function where(known) {
  const inCall = ({ call }) => (call ?? "").replace(/\(.*/, "");
  if (known.length > 1) {
    const calls = [...new Set(known.map(inCall))];
    const names = (call) => known.filter((thread) => inCall(thread) === call).map((thread) => thread.name).join(", ");
    return `a thread each: ${calls.map((call) => `${names(call)} in ${call}`).join("; ")}`;
  }
  const [{ asleep, call }] = known;
  return asleep ? `sleeps in ${(call ?? "").replace(/, .*/, ")").replace("(epoll)", "")}`
    : "never sleeps: asks again and again";
}

/** The steps at which a client does something. */
function actions({ steps }) {
  return steps.flatMap((step, index) => (kind(step) === "client" ? [index] : []));
}

/** The actions, by their numbers, in groups: between two groups at least one of the servers has done something. */
function deeds(all) {
  const groups = [];
  for (let action = 0; action < Math.max(...all.map((steps) => steps.length)); action++) {
    const isNew = all.some((steps) => steps[action] - steps[action - 1] > 1);
    if (action === 0 || isNew) groups.push([action]);
    else groups.at(-1).push(action);
  }
  return groups;
}

/** For each deed the last step before the next one. */
function ticks(scene, all) {
  const steps = actions(scene);
  return all.map((_, tick) => (steps[all[tick + 1]?.[0]] ?? scene.steps.length) - 1);
}

async function start() {
  for (const root of document.querySelectorAll("div.scenes[data-scenes]")) {
    const folder = folderOf(root);
    root.dataset.root = folder.replace(/scenes\/$/, "");
    const names = root.dataset.scenes.split(" ").filter(Boolean);
    await attempt(async () => new Together(root, await Promise.all(names.map((name) => load(folder, name)))));
  }
}

if (!isForPaper) start();

})();
