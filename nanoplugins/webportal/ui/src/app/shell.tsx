// Top bar, navigation, content, operations drawer, dialogs that every page has.
import AppLayout from "@cloudscape-design/components/app-layout";
import Modal from "@cloudscape-design/components/modal";
import SideNavigation from "@cloudscape-design/components/side-navigation";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { Outlet, useLocation, useNavigate } from "react-router";
import { system } from "../api/queries";
import { Contain } from "../parts/problem";
import { useIsNarrow } from "../parts/narrow";
import { LoginForm } from "../pages/login";
import { Flashes } from "./flashes";
import { Keyboard, type Dialog } from "./keyboard";
import { navigationItems } from "./navigation";
import { OperationsDrawer, useUnseenFailures } from "./operations-drawer";
import { Palette } from "./palette";
import { useSession } from "./session";
import { ShortcutHelp } from "./shortcut-help";
import { TopBar } from "./top-bar";

export function Shell() {
  const { t } = useTranslation(["shell", "common"]);
  const isNarrow = useIsNarrow();
  const [isOpen, setOpen] = useState(!isNarrow);
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const [dialog, setDialog] = useState<Dialog>(null);
  const location = useLocation();
  const { hasFailures, markSeen } = useUnseenFailures();
  useEffect(() => setOpen(!isNarrow), [isNarrow]);
  useEffect(() => {
    if (isNarrow) setOpen(false);
  }, [location.pathname, isNarrow]);
  useNavRole(isNarrow);
  const showDrawer = (isOpening: boolean) => {
    if (!isOpening) markSeen();
    setDrawerOpen(isOpening);
  };
  return (
    <>
      <a className="nano-skip" href="#content">
        {t("skip")}
      </a>
      <TopBar
        onPalette={() => setDialog("palette")}
        onHelp={() => setDialog("help")}
        onOperations={() => showDrawer(!isDrawerOpen)}
        hasFailures={hasFailures}
      />
      <AppLayout
        headerSelector="#nano-top"
        navigationOpen={isOpen}
        onNavigationChange={({ detail }) => setOpen(detail.open)}
        navigationWidth={220}
        navigation={<Navigation />}
        notifications={<Flashes />}
        stickyNotifications
        maxContentWidth={1800}
        tools={<OperationsDrawer />}
        toolsHide={!isDrawerOpen}
        toolsOpen={isDrawerOpen}
        toolsWidth={340}
        onToolsChange={({ detail }) => showDrawer(detail.open)}
        ariaLabels={{
          navigation: t("navigation"),
          navigationClose: t("closeNavigation"),
          navigationToggle: t("openNavigation"),
          notifications: t("notifications"),
          tools: t("operations"),
          toolsClose: t("common:close"),
        }}
        content={
          <div id="content" tabIndex={-1}>
            <Contain key={location.pathname}>
              <Outlet />
            </Contain>
          </div>
        }
      />
      <Keyboard open={setDialog} />
      {dialog === "palette" && <Palette onClose={() => setDialog(null)} />}
      {dialog === "help" && <ShortcutHelp onClose={() => setDialog(null)} />}
      <ExpiredSession />
    </>
  );
}

/** The layout gives its narrow bar an orientation, which a navigation landmark must not have. */
function useNavRole(isNarrow: boolean): void {
  useEffect(() => {
    if (!isNarrow) return;
    const clean = () => document.querySelector("nav[aria-orientation]")?.removeAttribute("aria-orientation");
    clean();
    const watcher = new MutationObserver(clean);
    watcher.observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-orientation"] });
    return () => watcher.disconnect();
  }, [isNarrow]);
}

function Navigation() {
  const { t } = useTranslation("shell");
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const overview = useQuery(system());
  const first = `/${pathname.split("/")[1] ?? ""}`;
  return (
    <SideNavigation
      activeHref={first}
      header={{ text: overview.data?.zone ? t("zone", { name: overview.data.zone }) : t("product"), href: "/" }}
      items={navigationItems(t)}
      onFollow={(event) => {
        if (event.detail.external) return;
        event.preventDefault();
        void navigate(event.detail.href);
      }}
    />
  );
}

/** The page below keeps its state, and so every half-filled form. */
function ExpiredSession() {
  const { t } = useTranslation("shell");
  const { status } = useSession();
  if (status !== "expired") return null;
  return (
    <Modal visible header={t("expired")} closeAriaLabel={t("expired")}>
      <LoginForm />
    </Modal>
  );
}
