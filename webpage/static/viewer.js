// The mesh under light: loads GLB bytes, turns by drag, and shows texture, wireframe or normals.
import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const STEP_RAD = Math.PI / 24;

export class Viewer {
  constructor(element) {
    this.element = element;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
    this.renderer.toneMapping = THREE.NeutralToneMapping;
    element.append(this.renderer.domElement);
    this.scene = new THREE.Scene();
    // Three lights instead of an environment map, which takes half a minute to prepare without a graphics card.
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0xd8d4ce, 3.0));
    for (const [x, y, z, strength] of [[2, 4, 3, 1.6], [-3, 1, -2, 0.5]]) {
      const lamp = new THREE.DirectionalLight(0xffffff, strength);
      lamp.position.set(x, y, z);
      this.scene.add(lamp);
    }
    this.camera = new THREE.PerspectiveCamera(30, 1, 0.01, 100);
    this.camera.position.set(1.6, 1.1, 2.3);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => this.draw());
    this.mode = "texture";
    this.loader = new GLTFLoader();
    new ResizeObserver(() => this.resize()).observe(element);
    element.addEventListener("keydown", (event) => this.key(event));
    this.resize();
  }

  // Replace the mesh. bytes: an ArrayBuffer that holds a GLB file.
  async show(bytes) {
    const gltf = await this.loader.parseAsync(bytes, "");
    const first = !this.model;
    if (this.model) {
      this.scene.remove(this.model);
      this.model.traverse(dispose);
    }
    this.model = gltf.scene;
    this.scene.add(this.model);
    if (first) this.frame();
    else this.ground();
    this.apply();
  }

  // Look at the whole mesh.
  frame() {
    const size = this.ground();
    const narrow = Math.min(1, this.camera.aspect);
    const distance = size / 2 / Math.sin((this.camera.fov / 2) * (Math.PI / 180)) / narrow;
    this.camera.position.sub(this.controls.target).setLength(1.2 * distance).add(this.controls.target);
    this.controls.update();
  }

  // Turn around the middle of the mesh; its size.
  ground() {
    const box = new THREE.Box3().setFromObject(this.model);
    const middle = box.getCenter(new THREE.Vector3());
    this.camera.position.add(middle.clone().sub(this.controls.target));
    this.controls.target.copy(middle);
    this.controls.update();
    return box.getSize(new THREE.Vector3()).length();
  }

  setMode(mode) {
    this.mode = mode;
    this.apply();
  }

  apply() {
    this.model?.traverse((node) => {
      if (!node.isMesh) return;
      node.userData.own ??= node.material;
      const own = node.userData.own;
      if (this.mode === "normals") node.material = new THREE.MeshNormalMaterial();
      else if (this.mode === "wireframe") {
        node.material = new THREE.MeshBasicMaterial({ color: this.wireColor(), wireframe: true });
      } else node.material = own;
    });
    this.draw();
  }

  wireColor() {
    return getComputedStyle(this.element).color;
  }

  key(event) {
    const turns = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const zoom = { "+": 0.9, "-": 1.1 }[event.key];
    if (!turns && !zoom) return;
    event.preventDefault();
    const arm = new THREE.Spherical().setFromVector3(this.camera.position.clone().sub(this.controls.target));
    if (turns) {
      arm.theta += turns[0] * STEP_RAD;
      arm.phi = Math.min(Math.max(arm.phi + turns[1] * STEP_RAD, 0.05), Math.PI - 0.05);
    } else arm.radius *= zoom;
    this.camera.position.setFromSpherical(arm).add(this.controls.target);
    this.controls.update();
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (this.model) this.frame();
    this.draw();
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
  }
}

function dispose(node) {
  if (!node.isMesh) return;
  node.geometry.dispose();
  for (const material of new Set([node.material, node.userData.own ?? node.material])) {
    material.map?.dispose();
    material.dispose();
  }
}
