// The page's words in the chosen language, and numbers, sizes and times as that language writes them.

import { WORDS } from "./words.js";

// The words that both pages have. {a} is replaced.
const SHARED = {
  en: {
    skip: "Skip to the content", language: "Language", copy: "Copy", copied: "Copied", copyLabel: "Copy: {text}",
    copyFailed: "Select it and copy it by hand",
    quotaLeft: "{left} of {limit} left", quotaRefuses: "refuses for now", quotaLabel: "Pulls left at {registry}",
    quotaResets: "Allowed again at {at}, says the registry", quotaUnknown: "The registry does not say when they come back",
    quotaBack: "Pulls count for up to {time}: all back by {at}", quotaWindow: "In each {time}",
    quotaOld: "Reported more than {time} ago: all are back", quotaAt: "{when} · reported {since}",
    fault: "{text}", refusal: "{text}", detail: "{text}", failedAction: "That did not work: {text}",
    units: { ms: "{n} ms", s: "{n} s", min: "{n} min", h: "{n} h", d: "{n} d" },
  },
  zh: {
    skip: "跳到正文", language: "语言", copy: "复制", copied: "已复制", copyLabel: "复制：{text}",
    copyFailed: "请手动选中并复制",
    quotaLeft: "还剩 {left} / {limit} 次", quotaRefuses: "暂时拒绝", quotaLabel: "{registry} 剩余拉取次数",
    quotaResets: "仓库表示 {at} 起可再次拉取", quotaUnknown: "仓库没有说明何时恢复",
    quotaBack: "每次拉取最多占用额度 {time}：最迟 {at} 全部恢复", quotaWindow: "每 {time}",
    quotaOld: "这是 {time}之前的数据：现已全部恢复", quotaAt: "{when} · {since}报告",
    fault: "{hop}：{kind}（{text}）", refusal: "仓库拒绝了请求，状态码 {status}", cause: "{words}（{text}）", detail: "详情：{text}",
    failedAction: "操作未成功，状态码 {status}（{text}）",
    store_no_directory: "没有可用的缓存目录", store_in_use: "另一个进程正在使用缓存目录", store_other_user: "缓存目录属于其他用户",
    store_read_only: "文件系统是只读的", store_full: "磁盘空间不足", store_unusable: "无法读写缓存目录",
    hop_Engine: "请求", hop_Tunnel: "隧道", hop_Server: "Docxy 服务器", hop_Registry: "仓库", hop_TokenService: "令牌服务", hop_Cdn: "CDN",
    kind_NameInvalid: "名称无效", kind_DigestInvalid: "摘要无效", kind_ReferenceInvalid: "标签或摘要无效", kind_RequestInvalid: "请求无效",
    kind_RouteUnknown: "路径不存在", kind_MethodNotServed: "不支持此方法", kind_HostNotServed: "不接受此主机名", kind_OriginNotServed: "不接受此来源",
    kind_PeerNotServed: "不为此机器提供服务", kind_RegistryNotServed: "服务器未开放此仓库", kind_Down: "连接已断开", kind_Refused: "拒绝了本客户端",
    kind_Overloaded: "已达到上限", kind_Unreachable: "无法连接", kind_TimedOut: "超时", kind_MalformedResponse: "返回了错误", kind_Truncated: "内容提前结束",
    kind_RedirectRefused: "重定向不被允许", kind_CredentialExpired: "凭据已失效", kind_Cancelled: "已取消", kind_Internal: "Docxy 内部错误",
    kind_Mismatch: "内容与请求不符", kind_RetriesExhausted: "多次重试后仍然失败", kind_TooLarge: "内容过大",
    units: { ms: "{n} 毫秒", s: "{n} 秒", min: "{n} 分钟", h: "{n} 小时", d: "{n} 天" },
  },
};

let language = "en";

const word = (name) => WORDS[language][name] ?? SHARED[language][name];

export const has = (name) => word(name) !== undefined;

export function say(name, values = {}) {
  return (word(name) ?? name).replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

// Why something failed. What the program says of it is in English, and is enough there. `of` is what the cause is of, if
// there are words for its causes: a store, say.
export function why(text, cause, of) {
  if (!text) return "";
  const { fault, refusal } = cause ?? {};
  if (fault) return say("fault", { hop: say(`hop_${fault.hop}`), kind: say(`kind_${fault.kind}`), text });
  if (refusal) return say("refusal", { status: refusal.status, text });
  const name = `${of}_${cause}`;
  return has(name) ? say("cause", { words: say(name), text }) : say("detail", { text });
}

// Why a button did not work: what its program answered, in words for that answer if there are any.
export function refused(action, response, text) {
  const { status, statusText } = response;
  const known = `${action} ${status}`;
  return has(known) ? say(known) : say("failedAction", { status, text: text || statusText || status });
}

// The stored language, or else the browser's.
export function chooseLanguage(chosen) {
  try {
    if (chosen) localStorage.setItem("language", chosen);
    language = localStorage.getItem("language") ?? "";
  } catch {
    // Storage is off: the choice lasts as long as the page.
    language = chosen ?? "";
  }
  if (!Object.hasOwn(WORDS, language)) {
    language = navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag))?.slice(0, 2).toLowerCase() ?? "en";
  }
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.querySelectorAll("[data-word]").forEach((element) => { element.textContent = say(element.dataset.word); });
  document.querySelectorAll("[data-label]").forEach((element) => element.setAttribute("aria-label", say(element.dataset.label)));
  document.querySelectorAll("[data-language]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.language === language)));
}

const number = (value, digits) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export const count = (value) => number(value, 0);

export const percent = (part) => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(part);

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(size) / 10));
  const value = size / 1024 ** power;
  return `${number(value, power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
}

export const rate = (size) => `${bytes(size)}/s`;

export function duration(seconds) {
  const steps = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [unit, size] = steps.find(([, size]) => seconds >= size * (size > 60 ? 1 : 2)) ?? steps[3];
  const exact = unit === "s" && seconds < 10 && seconds % 1 !== 0;
  return word("units")[unit].replace("{n}", number(exact ? seconds : Math.floor(seconds / size), exact ? 1 : 0));
}

export const milliseconds = (value) => word("units").ms.replace("{n}", count(value));

export const ago = (time, now = Date.now()) => Math.max(0, (now - Date.parse(time)) / 1000);

export function since(time, now = Date.now()) {
  const seconds = Math.floor(ago(time, now));
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, size]) => seconds >= size) ?? ["second", 1];
  const text = new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-Math.floor(seconds / size), unit);
  // A space between a number and a Han character, as everywhere else on the page.
  return text.replace(/(\d)(?=\p{Script=Han})/gu, "$1 ");
}

// 14:05, and its day if that is not today.
function clock(time) {
  const day = new Date(time).toDateString() === new Date().toDateString() ? {} : { month: "short", day: "numeric" };
  return new Intl.DateTimeFormat(language, { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(time);
}

// A limit is as it was reported until its window has passed.
export const isOld = ({ window_seconds: seconds, at, resets_at: reset }) => !reset && seconds !== null && ago(at) > seconds;

// When pulls are left again: what the registry says of that, or else the latest time that its window allows.
export function quotaTimes(quota) {
  const { limit, remaining, window_seconds: seconds, at, resets_at: reset } = quota;
  if (reset) return say("quotaResets", { at: clock(Date.parse(reset)) });
  if (!seconds) return say("quotaUnknown");
  const time = duration(seconds);
  if (isOld(quota)) return say("quotaOld", { time });
  if (remaining === limit) return say("quotaWindow", { time });
  return say("quotaBack", { time, at: clock(Date.parse(at) + seconds * 1000) });
}
