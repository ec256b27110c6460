// The player of scenes. A scene is a run of a real server, recorded system call by system call; this file shows it one
// step at a time. It needs no network: the data is a script beside the page, so that the book also works from file://.
//
// In a page:  <div class="scene" data-scene="NAME"><img src="scenes/NAME.svg" alt="…"></div>
// Several of them on one clock: see together.js.
//
// A step holds the whole state, so showing step 7 needs no other step. Readers count steps from 1, the data from 0.
"use strict";
(() => {

// ---- small tools

/** An element with attributes and children. A child is an element or a text; `null` is left out. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** What a button does changes. Its tip is read aloud too. */
function nameButton(button, sign, name) {
  button.textContent = `${sign} ${name}`;
  fill(button, { "aria-label": name, title: name }, []);
}

/** A field's name in plain words. */
const words = (name) => name.replace(/_/g, " ").replace(/\bfin\b/, "FIN")
  .replace(/[a-z][A-Z]/g, ([end, start]) => `${end} ${start.toLowerCase()}`)
  .replace(/^[A-Z][a-z]/, (start) => start.toLowerCase());
/** A number of bytes as people write it. */
const bytes = (count) => count.toLocaleString("en");
const list = (names) => names.join(", ") || "none";

// ---- what a step means

/** Where bytes are between a client's program and back: key, what it is, whose it is. They pass from left to right. */
const QUEUES = [
  ["unsent", "to be sent", "client’s program"],
  ["client_out", "send queue", "client’s kernel"],
  ["server_in", "receive queue", "server’s kernel"],
  ["hand", "read buffer", "server’s memory"],
  ["outbox", "outbox", "server’s memory"],
  ["server_out", "send queue", "server’s kernel"],
  ["client_in", "receive queue", "client’s kernel"],
];

/** So many bytes fill a bar at least: five bytes do not fill a buffer, even if the scene has no more. */
const LEAST_CAPACITY = 4096;

/** How many bytes of a client a buffer holds. */
function held(steps, index, name, queue) {
  if (queue === "hand") return steps[index].peers ? 0 : inHand(steps, index, name);
  if (queue === "outbox") return steps[index].server?.outbox?.[name] ?? 0;
  return steps[index].connections[name]?.[queue] ?? 0;
}

/** Bytes between the server's read and its write: it holds them until its thread turns to another client. */
function inHand(steps, index, name) {
  let [bytes, holder] = [0, null];
  for (const { who, thread, call, answer } of steps.slice(0, index + 1)) {
    if (who !== "server") continue;
    const [, what, client] = /^(\w+)\((\w+)/.exec(call ?? "") ?? [];
    if (client === name && /^(recv|read)/.test(what)) [bytes, holder] = [Number(answer) || 0, thread];
    else if (client === name && /^(send|write)/.test(what)) bytes -= answer === "EAGAIN" ? bytes : Number(answer) || 0;
    else if (thread === holder) bytes = 0;
  }
  return Math.max(0, bytes);
}

/**
 * How a client fares: `away`, `gone`, `cut`, `waits`, `ending` (it has sent its FIN, and waits for ours),
 * `stuck` (it does not read its own bytes), `parting` (our FIN is on its way), `silent`, `told` (silent, and it has
 * heard from us), `served`.
 * A client waits if it is in the backlog or if bytes of it are on their way and nothing stands in their way but us.
 */
function standing(steps, index, name) {
  const step = steps[index];
  const connection = step.connections[name];
  if (step.peers) return connection?.connected ? "peer" : "away";
  if (connection?.reset) return "cut";
  if (!connection?.connected) {
    return steps.slice(0, index).some((earlier) => earlier.connections[name]?.connected) ? "gone" : "away";
  }
  if (connection.fin === "both") return "gone";
  const unread = connection.client_in;
  const underWay = QUEUES.reduce((sum, [queue]) => sum + held(steps, index, name, queue), 0) - unread;
  if (unread > 0 && underWay > 0) return "stuck";
  if (underWay > 0 || step.backlog.includes(name)) return "waits";
  if (connection.fin === "client") return "ending";
  if (connection.fin === "server") return "parting";
  if (connection.returned + unread === 0) return "silent";
  const spoke = (earlier) => earlier.who === name && earlier.does?.includes("sends");
  return steps.slice(0, index + 1).some(spoke) ? "served" : "told";
}

/** The threads at a step: who they are, the call that they are in, and whether they sleep in it. */
function threads(steps, index) {
  const known = steps[index].server?.threads;
  const names = known?.map((thread) => thread.name) ?? [steps[index].peers ? "program" : "server"];
  return names.map((name, thread) => {
    const last = steps.slice(0, index + 1).findLast((step) => step.who === "server" && (step.thread ?? 0) === thread);
    const asleep = known ? known[thread].asleep : last?.asleep ?? false;
    // The step says more of a call than its name, if the thread is still in the same one.
    const is = known?.[thread].in;
    return { name, asleep, call: is && !last?.call?.startsWith(`${is}(`) ? is : last?.call ?? null };
  });
}

/** The client for which a waiting one has to wait: the one whose bytes the only thread sleeps for. */
function blocker(scene, steps, index, name) {
  const [server, ...others] = threads(steps, index);
  if (others.length > 0 || !server.asleep) return null;
  const named = (client) => client.name !== name && new RegExp(`\\b${client.name}\\b`).test(server.call ?? "");
  return scene.clients.find(named)?.name ?? null;
}

const FARES = { away: "not here yet", gone: "has left", cut: "cut off", waits: "waits", ending: "waits for the end",
  stuck: "does not read", parting: "let go of", silent: "silent, connected", told: "silent, told the status",
  served: "served", peer: "connected" };

/** The same in words, with the name of the client that holds it up. */
function fares(scene, steps, index, name) {
  const how = standing(steps, index, name);
  // Of a peer the program knows in which state it is with it.
  const end = steps[index].connections[name]?.fin === "none" ? FARES[how] : "closed";
  if (steps[index].peers) return words(steps[index].server?.state?.[name] ?? end);
  const other = how === "waits" ? blocker(scene, steps, index, name) : null;
  if (other) return `waits for ${other}`;
  return how === "waits" && steps[index].backlog.includes(name) ? "waits in the backlog" : FARES[how];
}

/** What happened at a step, in one line. */
function event(scene, step) {
  if (step.who === "clock") return step.does;
  if (step.who !== "server") return `${actor(scene, step)} ${step.does ?? ""}`;
  const answer = step.asleep ? " … sleeps" : step.answer ? ` = ${step.answer}` : "";
  return `${step.call ?? step.does}${answer}`;
}

function actor(scene, step) {
  if (step.who !== "server") return step.who === "kernel" || step.who === "clock" ? `the ${step.who}` : step.who;
  const thread = step.server?.threads?.[step.thread ?? 0];
  if (step.peers) return "program";
  return thread ? `server, thread ${thread.name}` : "server";
}

/** Whether bytes or news go up to a client (or from the kernel to the server), rather than down or out. */
function comesIn(step) {
  if (step.who === "server") return /^(recv|read|accept|epoll_(p?wait)|poll|epoll_pwait)/.test(step.call ?? "");
  return /^(reads|gets|receives|finds)/.test(step.does ?? "");
}

// ---- the player of one scene

const SCENES = new Map(); // name → data, as the scripts register them
const PLAYERS = [];

class Player {
  constructor(root, scene) {
    Object.assign(this, { root, scene, step: 0, whatIf: false, timer: null, parts: {}, columns: buffers(scene) });
    root.append(this.build());
    root.classList.add("ready");
    root.tabIndex = 0;
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", `Scene: ${scene.title}`);
    root.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight Home End");
    root.addEventListener("keydown", (key) => this.onKey(key));
    new ResizeObserver(() => this.drawLanes()).observe(this.parts.lanes);
    this.show(0);
  }

  get run() { return this.whatIf ? this.scene.what_if : this.scene; }
  get steps() { return this.run.steps; }

  // -- what stands on the page

  build() {
    const { scene, parts } = this;
    parts.caption = make("p", { class: "caption" });
    parts.now = make("p", { class: "now" });
    parts.end = make("p", { class: "end" });
    parts.lanes = make("div", { class: "lanes" });
    parts.queues = make("div", { class: "queues" });
    parts.place = make("p", { class: "place" });
    parts.code = make("pre", { class: "code", "aria-label": "The code, with the line where the server stands" });
    parts.panels = make("dl", { class: "panels" });
    parts.log = make("ol", { class: "log", "aria-label": "What has happened so far" });
    return make("div", { class: "player" },
      make("p", { class: "title" }, scene.title),
      make("p", { class: "about" }, scene.about, " ", make("span", { class: "source" }, this.source())),
      this.controls(), this.whatIfAbout(),
      make("div", { class: "said", "aria-live": "polite" }, parts.caption, parts.now, parts.end),
      parts.lanes, parts.queues,
      make("div", { class: "below" },
        make("div", {}, parts.place, parts.code),
        make("div", { class: "aside" }, parts.panels, make("p", { class: "label" }, "Calls and actions"), parts.log)));
  }

  source() {
    const { program, options, recorded, small_buffers: small } = this.scene;
    const command = [program, ...(options ?? [])].join(" ");
    const buffers = small ? ", with small kernel buffers" : "";
    return `Recorded from ${command} on ${recorded}${buffers}. Keys: ← → Home End.`;
  }

  controls() {
    const { parts } = this;
    const button = (name, sign, action, look) =>
      make("button", { type: "button", class: look, title: name, "aria-label": name, onclick: action }, sign);
    parts.play = button("Play", "▶ Play", () => this.toggle());
    parts.slider = make("input", { type: "range", min: 1, step: 1, "aria-label": "Step",
      oninput: () => { this.pause(); this.show(parts.slider.value - 1); } });
    parts.count = make("span", { class: "count" });
    return make("div", { class: "controls" },
      button("One step back", "◀", () => this.go(-1)), parts.play,
      button("One step on", "Step ▶", () => this.go(1)), parts.slider, parts.count,
      button("Full screen", "Full screen", () => this.fullScreen(), "large"), this.whatIfSwitch());
  }

  whatIfSwitch() {
    if (!this.scene.what_if) return null;
    this.parts.whatIf = make("input", { type: "checkbox", role: "switch",
      onchange: (change) => { this.pause(); this.choose(change.target.checked); } });
    return make("label", { class: "what-if" }, this.parts.whatIf, ` What if: ${this.scene.what_if.title}`);
  }

  whatIfAbout() {
    if (!this.scene.what_if) return null;
    return (this.parts.about = make("p", { class: "what-if-about", hidden: "" }, this.scene.what_if.about ?? ""));
  }

  // -- moving through it

  choose(whatIf) {
    this.whatIf = whatIf && Boolean(this.scene.what_if);
    if (this.parts.whatIf) this.parts.whatIf.checked = this.whatIf;
    if (this.parts.about) this.parts.about.hidden = !this.whatIf;
    this.show(this.step);
    this.drawLanes();
  }

  go(by) {
    this.pause();
    this.show(this.step + by);
  }

  toggle() {
    if (this.timer) return this.pause();
    if (this.step === this.steps.length - 1) this.show(0);
    nameButton(this.parts.play, "❚❚", "Pause");
    this.tick();
  }

  /** The next step comes when the caption can have been read. */
  tick() {
    const time = 1200 + 40 * (this.steps[this.step].caption ?? "").length;
    this.timer = setTimeout(() => {
      this.show(this.step + 1);
      if (this.step === this.steps.length - 1) this.pause();
      else this.tick();
    }, time);
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    nameButton(this.parts.play, "▶", "Play");
  }

  /** mdbook turns the page with the arrow keys, so a key that we take goes no further. */
  onKey(key) {
    if (key.altKey || key.ctrlKey || key.metaKey || key.shiftKey) return;
    const actions = { ArrowRight: () => this.go(1), ArrowLeft: () => this.go(-1), Home: () => this.go(-Infinity),
      End: () => this.go(Infinity), " ": key.target === this.root ? () => this.toggle() : undefined };
    const action = actions[key.key];
    if (!action) return;
    key.preventDefault();
    key.stopPropagation();
    action();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  // -- one step

  show(index) {
    this.step = Math.max(0, Math.min(this.steps.length - 1, index));
    const { root, parts, steps, step } = this;
    Object.assign(root.dataset, { step: step + 1, steps: steps.length, whatIf: this.whatIf });
    parts.caption.textContent = steps[step].caption ?? "";
    parts.slider.max = steps.length;
    parts.slider.value = step + 1;
    const place = `Step ${step + 1} of ${steps.length}`;
    parts.slider.setAttribute("aria-valuetext", `${place}: ${event(this.scene, steps[step])}`);
    parts.count.textContent = `${step + 1} / ${steps.length}`;
    this.showNow();
    this.showEnd();
    this.showQueues();
    this.showCode();
    this.showPanels();
    this.showLog();
    this.showCursor();
    rememberStep(this);
  }

  showNow() {
    const step = this.steps[this.step];
    const who = make("strong", { class: `who ${kind(step)}` }, actor(this.scene, step));
    const what = step.who === "server" ? make("code", {}, event(this.scene, step)) : step.does ?? "";
    this.parts.now.replaceChildren(who, " ", what);
  }

  /** At the end of a recording the server sleeps, and it may be that a client waits for it all the same. */
  showEnd() {
    const { steps, step, parts, root } = this;
    const waiting = this.scene.clients.map((client) => client.name)
      .filter((name) => ["waits", "ending"].includes(standing(steps, step, name)));
    const isOver = step === steps.length - 1 && waiting.length > 0 && threads(steps, step).every((t) => t.asleep);
    root.dataset.waits = isOver ? waiting.join(" ") : "";
    parts.end.hidden = !isOver;
    const verb = waiting.length > 1 ? "wait" : "waits";
    const why = this.whatIf ? "forever: nothing that has happened will wake the server." : "while the server sleeps.";
    parts.end.textContent = isOver ? `The recording ends here. ${list(waiting)} ${verb} ${why}` : "";
  }

  showQueues() {
    const { columns } = this;
    const head = make("div", { class: "row head", "aria-hidden": "true" }, make("span"),
      ...columns.map(({ what, whose }) => make("span", {}, make("b", {}, what), make("br"), whose)),
      make("span", {}, make("b", {}, "read back"), make("br"), asPeers(this.scene, "by the client")));
    const rows = this.scene.clients.map((client) => this.clientRow(client, columns));
    this.parts.queues.style.setProperty("--columns", columns.length);
    this.parts.queues.replaceChildren(head, ...rows);
  }

  clientRow(client, columns) {
    const { scene, steps, step } = this;
    const state = steps[step];
    const how = standing(steps, step, client.name);
    const returned = state.connections[client.name]?.returned ?? 0;
    return make("div", { class: `row ${how}`, "data-client": client.name },
      make("div", { class: "name" }, make("b", { title: client.about }, client.name), " ",
        make("span", { "data-fares": client.name }, fares(scene, steps, step, client.name)),
        make("small", {}, notes(state, client.name))),
      ...columns.map((column) => this.bar(client.name, column)),
      make("div", { class: "returned" }, make("span", { class: "aloud" }, asPeers(scene, "read back by the client")),
        make("span", { "data-queue": `${client.name}.returned` }, bytes(returned))));
  }

  bar(name, { queue, what, whose, capacity }) {
    const count = held(this.steps, this.step, name, queue);
    // Three bytes of sixteen thousand are to be seen too.
    const width = count > 0 ? Math.max(4, (100 * count) / capacity) : 0;
    return make("div", { class: "buffer" }, make("span", { class: "aloud" }, `${what}, ${whose}`),
      make("span", { class: `bar ${queue}` }, make("i", { style: `width:${width}%` }),
        make("span", { "data-queue": `${name}.${queue}` }, bytes(count))));
  }

  /** The function in which the server stands. When a client acts, the server stands where it stood before. */
  showCode() {
    const { steps, step, parts } = this;
    const at = steps[step].at ?? steps.slice(0, step).findLast((earlier) => earlier.at)?.at;
    const block = at && this.run.code.find(({ file, first, lines }) =>
      file === at.file && first <= at.line && at.line < first + lines.length);
    parts.place.textContent = block ? `${at.file}, line ${at.line}` : "";
    const id = block ? `${block.file}:${block.first}:${this.whatIf}` : "";
    if (parts.code.dataset.block !== id) {
      parts.code.dataset.block = id;
      parts.code.replaceChildren(...(block?.lines ?? []).map((line, n) => codeLine(line, block.first + n)));
    }
    if (!block) return;
    for (const line of parts.code.children) line.removeAttribute("aria-current");
    const line = parts.code.children[at.line - block.first];
    line.setAttribute("aria-current", steps[step].at ? "step" : "location");
    parts.code.scrollTop = line.offsetTop - parts.code.clientHeight / 2;
  }

  showPanels() {
    const { steps, step } = this;
    const panels = PANELS.filter((panel) => steps.some((any) => panel.isThere(any)));
    this.parts.panels.replaceChildren(...panels.map(({ name, title, text }) => {
      const said = text(steps[step], steps, step);
      return make("div", { class: said === "none" ? "empty" : "" }, make("dt", {}, title),
        make("dd", { "data-panel": name }, said));
    }));
  }

  showLog() {
    const { scene, steps, step, parts } = this;
    const lines = steps.slice(0, step + 1).map((each, n) => {
      const thread = each.who === "server" ? each.server?.threads?.[each.thread ?? 0]?.name : null;
      const who = thread ? `thread ${thread}: ` : "";
      const link = make("a", { href: `#${this.hash(n)}`, tabindex: -1 }, `${who}${event(scene, each)}`);
      return make("li", { class: kind(each) }, link);
    });
    parts.log.replaceChildren(...lines);
    parts.log.scrollTop = parts.log.scrollHeight;
  }

  hash(step) { return `${this.scene.name}${this.whatIf ? ".what-if" : ""}.step=${step + 1}`; }

  // -- the lanes

  drawLanes() {
    const width = this.parts.lanes.clientWidth;
    if (width <= 2 * LABEL) return; // not laid out yet
    this.lanes = new Lanes(this, width);
    this.parts.lanes.replaceChildren(this.lanes.picture);
    this.showCursor();
  }

  showCursor() {
    this.lanes?.moveTo(this.step);
  }
}

/** The buffers that a scene fills at all, and how many bytes fill the bar of each. */
function buffers(scene) {
  const all = (steps, queue) => steps.flatMap((_, index) =>
    scene.clients.map(({ name }) => held(steps, index, name, queue)));
  return QUEUES.map(([queue, what, whose]) => {
    const most = Math.max(0, ...all(scene.steps, queue), ...all(scene.what_if?.steps ?? [], queue));
    const capacity = Math.max(most, scene.capacity[queue] ?? 0, LEAST_CAPACITY);
    return { queue, what, whose: asPeers(scene, whose), most, capacity };
  }).filter(({ queue, most }) => most > 0 || queue === "server_in");
}

/** The program of some scenes connects to others itself: they are its peers. */
function asPeers(scene, text) {
  return scene.steps[0].peers ? text.replace("client", "peer").replace("server", "program") : text;
}

/** Whose step it is, as a class. */
function kind(step) {
  return ["server", "kernel", "clock"].includes(step.who) ? step.who : "client";
}

/** What is known of a connection beside its bytes. */
function notes(step, name) {
  const connection = step.connections[name];
  if (!connection?.connected) return "";
  const fin = { client: "client’s FIN", server: "server’s FIN", both: "both FINs" }[connection.fin];
  const marks = step.server?.marks?.[name];
  const state = step.server?.state?.[name];
  return [connection.accepted ? null : "not accepted", connection.reset ? "reset" : null, fin,
    state && !step.peers ? `state: ${words(state)}` : null,
    marks ? `marks: ${list(marks.map(words))}` : null].filter(Boolean).join(" · ");
}

/** mdbook brings its highlighter; without it the code is plain. */
function codeLine(text, number) {
  const code = make("span", { class: "text" });
  if (window.hljs) code.innerHTML = window.hljs.highlight("rust", text).value;
  else code.textContent = text;
  return make("span", { class: "line", "data-line": number }, code, "\n");
}

/** What the server has besides the buffers. A panel that a scene never fills is not shown. */
const PANELS = [
  { name: "server", title: "State", isThere: () => true, text: (step, steps, index) => threads(steps, index)
    .map((thread) => `${step.server?.threads ? `${thread.name} ` : ""}${doing(thread)}`).join("; ") },
  { name: "ready", title: "The poller will report", isThere: (step) => step.ready?.length > 0,
    text: (step) => list(step.ready) },
  { name: "backlog", title: "Backlog", isThere: (step) => step.backlog?.length > 0,
    text: (step) => list(step.backlog) },
  { name: "due", title: "Due a turn", isThere: (step) => step.server?.due,
    text: (step) => list(step.server?.due ?? []) },
  { name: "accept_pending", title: "Backlog may hold a client",
    isThere: (step) => typeof step.server?.accept_pending === "boolean",
    text: (step) => (step.server?.accept_pending ? "yes" : "no") },
  { name: "timers", title: "Timers", isThere: (step) => step.server?.timers?.length > 0,
    text: (step) => list((step.server?.timers ?? []).map(({ what, in: left }) => `${words(what)} ${pause(left)}`)) },
  { name: "retry_in", title: "Calls accept(2) again", isThere: (step) => Number.isFinite(step.server?.retry_in),
    text: (step) => pause(step.server?.retry_in) },
  { name: "stop_in", title: "Stops at the latest", isThere: (step) => Number.isFinite(step.server?.stop_in),
    text: (step) => pause(step.server?.stop_in) },
  { name: "connections", title: "Connections", isThere: (step) => Number.isInteger(step.server?.connections),
    text: (step) => `${step.server?.connections ?? 0}` },
];

/** A time in milliseconds, counted from the step. */
const pause = (left) => (Number.isFinite(left) ? `in ${Math.round(left)} ms` : "none");

function doing({ asleep, call }) {
  const name = (call ?? "").split("(")[0];
  if (asleep) return `sleeps in ${name}`;
  return name ? `runs, ${name}` : "runs";
}

// ---- the lanes over time

const LANE = 30;
const LABEL = 84;

/** Who does what when: a lane for each client, the kernel, and each thread of the server. Time runs to the right. */
class Lanes {
  constructor(player, width) {
    const { scene, steps } = player;
    Object.assign(this, { player, scene, steps, width });
    const most = Math.max(...steps.map((_, index) => threads(steps, index).length));
    const threadNames = Array.from({ length: most }, (_, n) =>
      steps.findLast((step) => step.server?.threads?.[n])?.server.threads[n].name);
    this.names = [...scene.clients.map((client) => client.name), "kernel",
      ...threadNames.map((name) => (most > 1 ? `thread ${name}` : threads(steps, 0)[0].name))];
    this.kernel = scene.clients.length;
    this.height = this.names.length * LANE + 8;
    this.picture = draw("svg", { width, height: this.height, role: "img", "aria-label": this.inWords(),
      onclick: (click) => this.seek(click) }, this.patterns(), ...this.rows(), ...this.marks());
    this.later = draw("rect", { class: "later", y: 0, height: this.height });
    this.cursor = draw("path", { class: "cursor" });
    this.picture.append(this.later, this.cursor);
  }

  x(index) { return LABEL + ((this.width - LABEL - 8) * (index + 0.5)) / this.steps.length; }
  y(lane) { return 4 + LANE * (lane + 0.5); }
  edge(index) { return this.x(index - 0.5); }

  inWords() {
    return `Lanes over time: ${this.names.join(", ")}. The state at the step is given as text below.`;
  }

  patterns() {
    const id = `hatch-${this.scene.name}`;
    this.hatch = `url(#${id})`;
    return draw("defs", {}, draw("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)" }, draw("path", { class: "hatch", d: "M0 0V6" })));
  }

  rows() {
    return this.names.flatMap((name, lane) => [
      draw("text", { class: "lane", x: 0, y: this.y(lane) + 5 }, name),
      draw("path", { class: "base", d: `M${LABEL} ${this.y(lane)}H${this.width - 8}` }),
      ...this.bands(lane)]);
  }

  /** Stretches of time in which a client waits or a thread sleeps: hatched, with a word where there is room. */
  bands(lane) {
    const words = this.steps.map((_, index) => this.stateOf(lane, index));
    const bands = [];
    for (let from = 0, to; from < words.length; from = to) {
      for (to = from + 1; words[to] === words[from]; to += 1);
      if (words[from]) bands.push(...this.band(lane, from, to, words[from]));
    }
    return bands;
  }

  stateOf(lane, index) {
    if (lane === this.kernel) return null;
    if (lane > this.kernel) {
      const thread = threads(this.steps, index)[lane - this.kernel - 1];
      return thread?.asleep ? "sleeps" : thread ? "runs" : null;
    }
    const word = fares(this.scene, this.steps, index, this.scene.clients[lane].name);
    return word === FARES.away ? null : word;
  }

  band(lane, from, to, word) {
    const [left, right] = [this.edge(from), this.edge(to)];
    const box = { x: left, y: this.y(lane) - 9, width: right - left, height: 18 };
    const name = word.split(/[ ,]/)[0];
    const [start, room] = this.gap(lane, from, to);
    const fits = room > word.length * 7;
    return [draw("rect", { class: `band ${name}`, ...box }, draw("title", {}, word)),
      ["waits", "ending", "sleeps"].includes(name) ? draw("rect", { fill: this.hatch, ...box }) : null,
      fits && name !== "runs" ? draw("text", { class: `word ${name}`, x: start, y: this.y(lane) + 4.5 }, word) : null,
    ].filter(Boolean);
  }

  /** The longest stretch of a band that no mark and no arrow crosses: where it begins, and its length. */
  gap(lane, from, to) {
    const crosses = (other) => (lane < this.kernel ? other <= lane : other >= lane);
    const crossed = this.steps.flatMap((step, index) =>
      (from <= index && index < to && crosses(this.laneOf(step)) ? [this.x(index)] : []));
    const starts = [this.edge(from) - 4, ...crossed].map((x) => x + 8);
    const gaps = starts.map((x, n) => [x, (crossed[n] ?? this.edge(to) + 6) - 6 - x]);
    return gaps.reduce((best, gap) => (gap[1] > best[1] ? gap : best));
  }

  /** A mark for each step, and an arrow for what it moves: between a client or a thread and the kernel. */
  marks() {
    return this.steps.flatMap((step, index) => {
      const lane = this.laneOf(step);
      const [x, y, kernel] = [this.x(index), this.y(lane), this.y(this.kernel)];
      const isHollow = step.asleep || step.answer === "EAGAIN"; // nothing has moved
      const mark = draw("circle", { class: `mark ${kind(step)} ${isHollow ? "hollow" : ""}`, cx: x, cy: y, r: 4 },
        draw("title", {}, `${index + 1}: ${event(this.scene, step)}`));
      if (lane === this.kernel || isHollow) return [mark];
      const [start, end] = comesIn(step) ? [kernel, y] : [y, kernel];
      return [draw("path", { class: `arrow ${kind(step)}`, d: arrow(x, start, end) }), mark];
    });
  }

  laneOf(step) {
    if (step.who === "server") return this.kernel + 1 + Math.min(step.thread ?? 0, this.names.length - this.kernel - 2);
    const client = this.scene.clients.findIndex(({ name }) => name === step.who);
    return client < 0 ? this.kernel : client;
  }

  moveTo(step) {
    const right = this.edge(step + 1);
    fill(this.later, { x: right, width: Math.max(0, this.width - right) }, []);
    this.cursor.setAttribute("d", `M${this.x(step)} 0V${this.height}`);
  }

  seek(click) {
    const share = (click.clientX - this.picture.getBoundingClientRect().left - LABEL) / (this.width - LABEL - 8);
    this.player.pause();
    this.player.show(Math.floor(share * this.steps.length));
  }
}

/** A line straight up or down, with a head in its middle. */
function arrow(x, from, to) {
  const [middle, way] = [(from + to) / 2, Math.sign(to - from)];
  return `M${x} ${from}V${to}M${x - 4} ${middle - 3 * way}L${x} ${middle + 3 * way}L${x + 4} ${middle - 3 * way}`;
}

// ---- links to a step

/** `#NAME.step=17`, `#NAME.what-if.step=17`, and `#step=17` where the page has one scene. */
function readHash(hash) {
  const found = /^#(?:([\w-]+?)(\.what-if)?\.)?step=(\d+)$/.exec(hash);
  if (!found) return;
  const [, name, whatIf, step] = found;
  const player = PLAYERS.find(({ scene }) => (name ? scene.name === name : PLAYERS.length === 1));
  if (!player) return;
  player.pause();
  player.choose(Boolean(whatIf));
  player.show(step - 1);
  player.root.scrollIntoView({ block: "start" });
}

let remembering = null;

/** Browsers allow few changes of the address in a second, so it follows when the reader rests. */
function rememberStep(player) {
  if (!PLAYERS.includes(player)) return;
  clearTimeout(remembering);
  remembering = setTimeout(() => history.replaceState(null, "", `#${player.hash(player.step)}`), 200);
}

// ---- the page

/** Called by each scene's own script. */
window.scene = (data) => {
  const peers = data.clients.some((client) => client.peer);
  for (const step of [...data.steps, ...(data.what_if?.steps ?? [])]) step.peers = peers;
  SCENES.set(data.name, data);
};

function load(folder, name) {
  if (SCENES.has(name)) return Promise.resolve(SCENES.get(name));
  return new Promise((done, fail) => {
    document.head.append(make("script", { src: `${folder}${name}.js`, onload: () => done(SCENES.get(name)),
      onerror: () => fail(new Error(`there is no ${folder}${name}.js`)) }));
  });
}

/** The data lies beside the strip, which every page finds by a path of its own. */
function folderOf(root) {
  const strip = root.querySelector("img")?.getAttribute("src") ?? "scenes/";
  return strip.slice(0, strip.lastIndexOf("/") + 1);
}

/** A recording that cannot be loaded must not stop the others. Its strip stays. */
const attempt = (begin) => begin().catch((error) => console.error(error));

async function start() {
  for (const root of document.querySelectorAll("div.scene[data-scene]")) {
    await attempt(async () => PLAYERS.push(new Player(root, await load(folderOf(root), root.dataset.scene))));
  }
  // The event knows its address. `location` may have gone on to the step that we remember.
  addEventListener("hashchange", (change) => readHash(new URL(change.newURL).hash));
  readHash(location.hash);
}

// The page for paper has all chapters in one: there the strips stay.
const isForPaper = /\/print\.html$/.test(location.pathname);
if (!isForPaper) start();

window.scenePlayer = { make, draw, standing, threads, blocker, fares, event, kind, load, folderOf, nameButton,
  attempt, isForPaper };

})();
