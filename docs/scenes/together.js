// Several scenes on one clock: the same clients before several servers. One sees at a glance who waits for whom.
//
// In a page:  <div class="scenes" data-scenes="three-1 three-2 …"><img src="scenes/….svg" alt="…"></div>
// The picture is for paper and for readers without JavaScript. `data-page2="…"` names another page for the scene of
// stage 2 than stage2.html.
"use strict";
(() => {

const { make, draw, standing, threads, blocker, fares, event, kind, load, folderOf, isForPaper } =
  window.scenePlayer;

/**
 * The same clients before several servers. Servers take different numbers of steps, so the clock counts what the
 * clients do: at tick k each scene stands at its last step before the clients' action k + 1.
 */
class Together {
  constructor(root, scenes) {
    Object.assign(this, { root, scenes, tick: 0, timer: null, cards: [] });
    this.ends = scenes.map(ticks);
    this.count = Math.max(...this.ends.map((ends) => ends.length));
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
      this.caption, make("div", { class: "cards" }, ...this.cards.map((card) => card.box)));
  }

  card(scene) {
    const stage = /^stage(\d)/.exec(scene.program)?.[1];
    const page = this.root.dataset[`page${stage}`] ?? `${this.root.dataset.root}stage${stage}.html`;
    const picture = make("div", { class: "picture" });
    const server = make("p", { class: "server" });
    const title = make("a", { href: `${page}#${scene.name}.step=1` }, stage ? `Stage ${stage}` : scene.title);
    const box = make("div", { class: "card", "data-card": scene.name },
      make("p", { class: "title" }, title), picture, server);
    return { box, picture, server };
  }

  toggle() {
    if (this.timer) return this.pause();
    if (this.tick === this.count - 1) this.show(0);
    this.play.textContent = "❚❚ Pause";
    this.timer = setInterval(() => {
      this.show(this.tick + 1);
      if (this.tick === this.count - 1) this.pause();
    }, 2000);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "▶ Play";
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
    const action = scene.steps.filter((step) => kind(step) === "client")[this.tick];
    // What a client finds there is another thing before each server.
    this.caption.textContent = action ? event(scene, action).replace(/ (reads|finds) .*/, " reads what is there") : "";
    this.slider.setAttribute("aria-valuetext", this.caption.textContent);
    this.drawCards();
  }

  drawCards() {
    this.scenes.forEach((scene, n) => {
      const { picture, server } = this.cards[n];
      const at = this.ends[n][Math.min(this.tick, this.ends[n].length - 1)];
      picture.replaceChildren(this.cardPicture(scene, this.ends[n], Math.max(220, picture.clientWidth)));
      server.textContent = serverDoes(threads(scene.steps, at));
    });
  }

  /** A line for each client: how it has fared up to now, in words how it fares, and an arrow to whom it waits for. */
  cardPicture(scene, ends, width) {
    const [height, left, right] = [34, 22, width];
    const x = (tick) => left + ((right - left) * tick) / this.count;
    const y = (row) => height * row + 21;
    const at = ends[Math.min(this.tick, ends.length - 1)];
    const rows = scene.clients.flatMap(({ name }, row) => [
      draw("text", { class: "lane", x: 0, y: y(row) + 5 }, name),
      draw("path", { class: "base", d: `M${left} ${y(row) + 9}H${right}` }),
      ...ends.slice(0, this.tick + 1).map((end, tick) => draw("rect", {
        class: `line ${standing(scene.steps, end, name)}`, x: x(tick), width: x(1) - x(0), y: y(row) + 6, height: 7 })),
      draw("text", { class: `fares ${standing(scene.steps, at, name)}`, "data-fares": `${scene.name}.${name}`,
        x: left + 2, y: y(row) + 1 }, fares(scene, scene.steps, at, name))]);
    return draw("svg", { width, height: height * scene.clients.length + 4, role: "img",
      "aria-label": scene.clients.map(({ name }) => `${name}: ${fares(scene, scene.steps, at, name)}`).join(". ") },
      ...rows, ...this.waits(scene, at, right - 14, y));
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

/** What the server does, in a few words: where it sleeps, and for which client. */
function serverDoes(known) {
  if (known.length > 1) return `${known.length} threads, ${known.filter((thread) => thread.asleep).length} asleep`;
  const [{ asleep, call }] = known;
  return asleep ? `server sleeps in ${(call ?? "").replace(/, .*/, ")").replace("(epoll)", "")}` : "server runs";
}

/** For each action of a client the last step before the next one. */
function ticks({ steps }) {
  const actions = steps.flatMap((step, index) => (kind(step) === "client" ? [index] : []));
  return actions.map((_, tick) => (actions[tick + 1] ?? steps.length) - 1);
}

async function start() {
  for (const root of document.querySelectorAll("div.scenes[data-scenes]")) {
    const folder = folderOf(root);
    root.dataset.root = folder.replace(/scenes\/$/, "");
    const names = root.dataset.scenes.split(" ").filter(Boolean);
    new Together(root, await Promise.all(names.map((name) => load(folder, name))));
  }
}

if (!isForPaper) start();

})();
