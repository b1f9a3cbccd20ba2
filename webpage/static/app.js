// The page: its state is one query; every control changes it, and the mesh, the files and the command follow.
import { Viewer } from "./viewer.js";
import { Pad } from "./pad.js";

const GALLERY = 12;
const PREVIEW_FACES = 8000;
const $ = (id) => document.getElementById(id);
const state = { shape_seed: 0, texture_seed: 0, truncation: 0.7, label: null, pad: null, shape_pca: [], texture_pca: [], move: {}, latent: null };
let network = { name: "network" };
let galleryStart = 0;
let request = null;
const viewer = new Viewer($("view"));
const pad = new Pad($("pad"), (x, y) => change({ pad: { x, y }, latent: null }));

function query(extra = {}) {
  const values = { truncation: state.truncation, ...extra };
  if (state.latent !== null) values.latent = state.latent;
  else if (state.pad) {
    values.corners = [0, 1, 2, 3].map((i) => galleryStart + i).join(",");
    values.x = state.pad.x.toFixed(3);
    values.y = state.pad.y.toFixed(3);
  } else Object.assign(values, { shape_seed: state.shape_seed, texture_seed: state.texture_seed });
  if (state.label !== null) values.class = state.label;
  for (const side of ["shape_pca", "texture_pca"]) if (state[side].some(Boolean)) values[side] = state[side].join(",");
  const moved = Object.entries(state.move).filter(([, step]) => step);
  if (moved.length) values.move = moved.map((entry) => entry.join(":")).join(",");
  return new URLSearchParams(values);
}

const styled = () => state.latent !== null || state.pad || state.shape_pca.some(Boolean) || state.texture_pca.some(Boolean) ||
  Object.values(state.move).some(Boolean);

function command() {
  const url = `${location.origin}/api/mesh.glb?${query()}`;
  if (styled()) return `curl -o mesh.glb "${url}"`;
  const own = state.label === null ? "" : ` --class ${state.label}`;
  return `tetragan generate --network ${network.name} --shape-seeds ${state.shape_seed} ` +
    `--texture-seeds ${state.texture_seed} --truncation ${state.truncation}${own}`;
}

function change(values) {
  Object.assign(state, values);
  refresh();
}

function refresh() {
  for (const key of ["shape_seed", "texture_seed"]) {
    $(key).value = state[key];
    $(`${key}_number`).value = state[key];
  }
  $("latent").value = state.latent ?? "";
  $("truncation").value = state.truncation;
  $("truncation_value").textContent = Number(state.truncation).toFixed(2);
  $("pad").classList.toggle("active", Boolean(state.pad));
  // What does not make the sample that is shown is dimmed; to touch it is to choose it.
  for (const key of ["shape_seed", "texture_seed"]) $(key).parentElement.classList.toggle("idle", state.latent !== null || Boolean(state.pad));
  $("truncation").parentElement.classList.toggle("idle", state.latent !== null);
  $("command").textContent = command();
  for (const link of document.querySelectorAll("[data-ending]")) {
    link.href = `/api/mesh.${link.dataset.ending}?${query()}`;
    link.download = `${network.name}.${link.dataset.ending === "obj" ? "zip" : link.dataset.ending}`;
  }
  for (const image of document.querySelectorAll("#gallery button")) {
    const seed = Number(image.dataset.seed);
    image.setAttribute("aria-pressed", !styled() && seed === state.shape_seed && seed === state.texture_seed);
  }
  clearTimeout(refresh.timer);
  refresh.timer = setTimeout(load, 60);
}

async function bytes(extra, signal) {
  const answer = await fetch(`/api/mesh.glb?${query(extra)}`, { signal }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("No answer. Is tetragan view still running?");
  });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer.arrayBuffer();
}

// Geometry first, texture after. A newer request ends the one before.
async function load() {
  request?.abort();
  const own = (request = new AbortController());
  const start = performance.now();
  say("Making the shape …", 0.3);
  try {
    const shape = await bytes({ texture_size: 0, faces: PREVIEW_FACES }, own.signal);
    if (own !== request) return;
    await viewer.show(shape);
    say("Painting the texture …", 1.3);
    const textured = await bytes({}, own.signal);
    if (own !== request) return;
    await viewer.show(textured);
    document.body.dataset.ready = query().toString();
    say(`Made in ${((performance.now() - start) / 1000).toFixed(1)} s`, 2);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, 0);
  }
}

function say(text, progress) {
  $("status").textContent = text;
  $("progress").value = progress;
  $("progress").hidden = progress === 2 || progress === 0;
}

function thumbnail(seed) {
  const own = state.label === null ? "" : `&class=${state.label}`;
  return `/api/image.png?shape_seed=${seed}&resolution=128&truncation=${state.truncation}${own}`;
}

function gallery() {
  document.querySelectorAll("#pad img").forEach((corner, row) => {
    corner.src = thumbnail(galleryStart + row);
    corner.title = `Seed ${galleryStart + row}`;
  });
  $("gallery").replaceChildren(
    ...Array.from({ length: GALLERY }, (_, row) => {
      const seed = galleryStart + row;
      const button = Object.assign(document.createElement("button"), { title: `Seed ${seed}` });
      button.dataset.seed = seed;
      const image = Object.assign(document.createElement("img"), { alt: `Seed ${seed}`, loading: "lazy" });
      image.src = thumbnail(seed);
      const caption = Object.assign(document.createElement("span"), { textContent: seed });
      button.append(image, caption);
      button.onclick = () => select(seed, seed);
      return button;
    }),
  );
}

function select(shape, texture) {
  clearAxes();
  change({ shape_seed: shape, texture_seed: texture, pad: null, shape_pca: [], texture_pca: [], move: {}, latent: null });
}

function slider(name, id, place, set) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "range", min: -3, max: 3, step: 0.1, value: 0 });
  const output = document.createElement("output");
  input.dataset.axis = id;
  input.ondblclick = () => {
    input.value = 0;
    input.oninput();
  };
  input.oninput = () => {
    set(Number(input.value));
    shown(input);
  };
  label.append(`${name} `, input, output);
  place.append(label);
  shown(input);
}

// The number beside a slider, and a mark on its group, which may be closed.
function shown(input) {
  const step = Number(input.value);
  input.nextElementSibling.textContent = step ? `${step > 0 ? "+" : "−"}${Math.abs(step).toFixed(1)}` : "0";
  const group = input.closest("details");
  group.classList.toggle("moved", [...group.querySelectorAll("input")].some((each) => Number(each.value)));
}

// One group an attribute, in the order of its clearest value; the first is open.
function attributes(names) {
  $("attributes_box").hidden = !names.length;
  for (const attribute of new Set(names.map((name) => name.split("=")[0]))) {
    const group = document.createElement("details");
    group.open = !$("attributes").children.length;
    group.append(Object.assign(document.createElement("summary"), { textContent: attribute }));
    $("attributes").append(group);
    for (const name of names.filter((each) => each.startsWith(`${attribute}=`)))
      slider(name.slice(attribute.length + 1), name, group, (step) => change({ move: { ...state.move, [name]: step } }));
  }
}

function axes(count) {
  for (const [side, name] of [["shape_pca", "Shape"], ["texture_pca", "Texture"]]) {
    for (let axis = 0; axis < count; axis++) {
      slider(`${name} ${axis + 1}`, `${side}${axis}`, $("axes"), (step) => {
        const values = Array.from({ length: count }, (_, i) => state[side][i] ?? 0);
        values[axis] = step;
        change({ [side]: values });
      });
    }
  }
}

function clearAxes() {
  for (const input of document.querySelectorAll("#axes input, #attributes input")) {
    input.value = 0;
    shown(input);
  }
}

function mode(name) {
  for (const button of $("modes").children) button.setAttribute("aria-pressed", button.dataset.mode === name);
  viewer.setMode(name);
}

async function copy() {
  const text = command();
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("command"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

function more() {
  galleryStart += GALLERY;
  gallery();
  refresh();
}

const random = () => select(Math.floor(Math.random() * 1000), Math.floor(Math.random() * 1000));

for (const key of ["shape_seed", "texture_seed"]) {
  const set = (event) => {
    const value = Math.min(Math.max(Math.round(Number(event.target.value)) || 0, 0), 2 ** 31 - 1);
    change({ [key]: value, pad: null, latent: null });
  };
  $(key).oninput = set;
  $(`${key}_number`).onchange = set;
}
$("truncation").oninput = (event) => change({ truncation: Number(event.target.value) });
$("truncation").onchange = gallery;
$("class").onchange = (event) => {
  change({ label: event.target.value === "" ? null : Number(event.target.value) });
  gallery();
};
$("latent").onchange = (event) => change({ latent: event.target.value || null, pad: null });
for (const button of $("modes").children) button.onclick = () => mode(button.dataset.mode);
$("random").onclick = random;
$("more").onclick = more;
$("copy").onclick = copy;
$("reset").onclick = () => {
  clearAxes();
  change({ shape_pca: [], texture_pca: [], move: {} });
};
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=number], select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = { r: random, c: copy, g: more, 1: () => mode("texture"), 2: () => mode("wireframe"), 3: () => mode("normals") };
  actions[event.key.toLowerCase()]?.();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.apply());

const info = await (await fetch("/api/info")).json();
network = info.network;
$("network").textContent = network.name;
document.title = `${network.name} · TetraGAN`;
if (info.classes) {
  $("class_row").hidden = false;
  $("class").append(new Option("in turn", ""), ...Array.from({ length: info.classes }, (_, i) => new Option(i, i)));
}
if (info.latents.length) {
  $("latent_row").hidden = false;
  $("latent").append(new Option("seeds", ""), ...info.latents.map((name) => new Option(name, name)));
}
axes(info.pca_axes);
attributes(info.attributes);
refresh();
gallery();
