// All words of the page, in each language. {a} is replaced.

export const WORDS = {
  en: {
    skip: "Skip to the content", language: "Language", graph: "Arriving, last ten minutes", ago10: "10 min ago", ago5: "5 min", now: "now",
    pulls: "Pulls in flight", pullsEmpty: "Nothing is being pulled. Pull an image, and watch it here:",
    finished: "Finished", forget: "Forget all", forgetOne: "Forget {image}", errors: "Errors, and what to do",
    servers: "Servers", anyServer: "Let Docxy choose", serversEmpty: "No link is joined. With the line that docxy-server invite printed:",
    quota: "Pulls left", quotaEmpty: "No registry has reported a limit yet. Docker Hub does so with the first pull.",
    cache: "Kept on disk", cacheText: "{used} of {limit}", cacheProblem: "New layers are not kept: {problem}",
    setup: "Set up your engines", setupHint: "Each line is for a terminal on this machine. Afterwards, plain names such as alpine come through Docxy.",
    lost: "docxy-client does not answer any more. This page goes on when it is back.", full: "Too many pages show this. Close some; this one tries again.",
    lineTo: "{state}: {server}", lineProxy: "through the proxy {proxy}", noLink: "No server yet: join a link",
    rate: "Rate now", roundTrip: "Round trip", loss: "Lost", since: "In this state", leg: "Leg",
    up: "Connected", suspected: "Not answering", connecting: "Connecting", down: "Reconnecting", refused: "Refused", spare: "Spare", draining: "shuts down",
    graphLabel: "Bytes arriving each second, last ten minutes: now {now}, at most {most}", most: "at most {most}",
    sums: "{bytes} of {length}", left: "{time} left", layers: "{done} of {all} layers", resolving: "asking for the manifest",
    waitsTunnel: "Waits for the tunnel", waitsPermit: "Waits for other requests to end", waitsServer: "Waits for the server", waitsSince: "for {time}",
    pending: "not requested", running: "arriving", stopped: "stopped", done: "done", layerLabel: "Layer {id}: {state}",
    began: "Pull began: {image}", ended: "Pull finished: {image}", failedNews: "Pull failed: {image}",
    outcomeDone: "done", outcomeFailed: "failed", outcomeStopped: "stopped",
    fromTunnel: "{bytes} through the tunnel", fromCache: "{bytes} from here", took: "in {time}", resumed: "resumed {n}×", upToDate: "nothing new",
    use: "Use this one", useLabel: "Use this one: {server}", inUse: "in use", preferred: "your choice", untrusted: "no credentials",
    quotaLeft: "{left} of {limit} left", quotaBack: "each comes back after {time}", quotaLabel: "Pulls left at {registry}",
    times: "{n}×", copy: "Copy", copied: "Copied", copyLabel: "Copy: {text}", copyFailed: "Select it and copy it by hand",
    engineReady: "set up", engineNot: "not set up", engineProblem: "look here", engineTest: "Test it:", engineSet: "Set it up:",
    engineAny: "Any engine", engineAnyHint: "Names this client itself; no set-up is needed:", enginesNone: "No engine was found here. Without one:",
    failedAction: "That did not work: {error}",
    advice: {
      wait: "Nothing to do: it goes on by itself.", doctor: "This says which hop is broken:", new_link: "Ask the operator for a new link, then:",
      list_registry: "The operator of the server has to list this registry.", quota: "Wait, or use an account:", log_in: "Log in to the registry:",
      check_name: "Check the name and the tag. A private image needs a login.", check_registry: "The registry fails. On the server, docxy-server check says more.",
      pull_again: "Pull again.",
    },
    units: { s: "{n} s", min: "{n} min", h: "{n} h", d: "{n} d" },
  },
  zh: {
    skip: "跳到正文", language: "语言", graph: "最近十分钟的接收速率", ago10: "10 分钟前", ago5: "5 分钟", now: "现在",
    pulls: "正在拉取", pullsEmpty: "目前没有拉取任务。拉取一个镜像，就能在这里看到进度：",
    finished: "已结束", forget: "全部清除", forgetOne: "清除 {image}", errors: "错误与处理办法",
    servers: "服务器", anyServer: "由 Docxy 选择", serversEmpty: "尚未加入任何链接。请使用 docxy-server invite 输出的那一行：",
    quota: "剩余拉取次数", quotaEmpty: "还没有仓库报告限额。Docker Hub 会在第一次拉取时报告。",
    cache: "磁盘缓存", cacheText: "已用 {used}，上限 {limit}", cacheProblem: "新的镜像层未缓存：{problem}",
    setup: "配置容器引擎", setupHint: "每一行都在本机终端中运行。之后，alpine 这样的普通名称就会经由 Docxy 拉取。",
    lost: "docxy-client 没有响应。它恢复后，本页会自动继续。", full: "打开的状态页太多。请关闭一些；本页会自动重试。",
    lineTo: "{state}：{server}", lineProxy: "经过代理 {proxy}", noLink: "还没有服务器：请先加入链接",
    rate: "当前速率", roundTrip: "往返时间", loss: "丢包率", since: "已持续", leg: "传输方式",
    up: "已连接", suspected: "无响应", connecting: "正在连接", down: "正在重连", refused: "被拒绝", spare: "备用", draining: "正在关闭",
    graphLabel: "最近十分钟每秒接收的字节数：现在 {now}，最高 {most}", most: "最高 {most}",
    sums: "{bytes} / {length}", left: "还需 {time}", layers: "{all} 层中已完成 {done} 层", resolving: "正在获取清单",
    waitsTunnel: "正在等待隧道", waitsPermit: "正在等待其他请求结束", waitsServer: "正在等待服务器", waitsSince: "已等待 {time}",
    pending: "未请求", running: "接收中", stopped: "已中断", done: "完成", layerLabel: "层 {id}：{state}",
    began: "开始拉取：{image}", ended: "拉取完成：{image}", failedNews: "拉取失败：{image}",
    outcomeDone: "完成", outcomeFailed: "失败", outcomeStopped: "已中止",
    fromTunnel: "{bytes} 来自隧道", fromCache: "{bytes} 来自本机", took: "用时 {time}", resumed: "续传 {n} 次", upToDate: "没有新内容",
    use: "使用这台", useLabel: "使用这台：{server}", inUse: "使用中", preferred: "您的选择", untrusted: "不发送凭据",
    quotaLeft: "还剩 {left} / {limit} 次", quotaBack: "每次拉取 {time} 后恢复", quotaLabel: "{registry} 剩余拉取次数",
    times: "{n} 次", copy: "复制", copied: "已复制", copyLabel: "复制：{text}", copyFailed: "请手动选中并复制",
    engineReady: "已配置", engineNot: "未配置", engineProblem: "需要检查", engineTest: "测试：", engineSet: "配置：",
    engineAny: "任何引擎", engineAnyHint: "直接写出本客户端的地址，无需配置：", enginesNone: "本机没有找到容器引擎。没有引擎也可以：",
    failedAction: "操作未成功：{error}",
    advice: {
      wait: "无需处理：会自动继续。", doctor: "这条命令会指出哪一段出了问题：", new_link: "请向管理员索取新链接，然后：",
      list_registry: "需要服务器管理员把该仓库加入列表。", quota: "请等待，或使用账号：", log_in: "登录该仓库：",
      check_name: "请检查名称和标签。私有镜像需要登录。", check_registry: "仓库出现故障。在服务器上运行 docxy-server check 可了解详情。",
      pull_again: "请重新拉取。",
    },
    units: { s: "{n} 秒", min: "{n} 分钟", h: "{n} 小时", d: "{n} 天" },
  },
};

// The commands that belong to an advice.
export const COMMANDS = {
  doctor: "docxy-client doctor", new_link: "docxy-client join", quota: "docxy-client login", log_in: "docxy-client login REGISTRY",
};

let language = "en";

export const languageOf = () => language;

// The stored language, or else the browser's.
export function chooseLanguage(chosen) {
  try {
    if (chosen) localStorage.setItem("language", chosen);
    language = localStorage.getItem("language") ?? "";
  } catch {
    // Storage is off: the choice lasts as long as the page.
    language = chosen ?? "";
  }
  if (!(language in WORDS)) {
    language = navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag))?.slice(0, 2).toLowerCase() ?? "en";
  }
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

export function say(name, values = {}) {
  const text = WORDS[language][name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

export const advise = (advice) => WORDS[language].advice[advice] ?? "";

const number = (value, digits) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export const percent = (part) => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(part);

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return `${number(value, power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
}

export const rate = (count) => `${bytes(count)}/s`;

export function duration(seconds) {
  const steps = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [unit, size] = steps.find(([, size]) => seconds >= size * (size > 60 ? 1 : 2)) ?? steps[3];
  const exact = unit === "s" && seconds < 10 && seconds % 1 !== 0;
  return WORDS[language].units[unit].replace("{n}", number(exact ? seconds : Math.floor(seconds / size), exact ? 1 : 0));
}

export const ago = (time) => Math.max(0, (Date.now() - Date.parse(time)) / 1000);

export function since(time) {
  const seconds = Math.floor(ago(time));
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, size]) => seconds >= size) ?? ["second", 1];
  return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-Math.floor(seconds / size), unit);
}
