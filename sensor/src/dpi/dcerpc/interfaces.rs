//! Names of interfaces and of their operations, from Microsoft's specifications.
//!
//! In: an interface's UUID and an operation's number. Out: what they are called. Operations that matter to
//! an analyst are named; others have their number.

/// The service that an interface belongs to.
pub(in crate::dpi) fn service(uuid: &str) -> Option<&'static str> {
    SERVICES.iter().find(|(known, ..)| *known == uuid).map(|(_, name, _)| *name)
}

/// The name of an operation.
pub(in crate::dpi) fn procedure(uuid: &str, operation: u16) -> Option<&'static str> {
    let (_, _, operations) = SERVICES.iter().find(|(known, ..)| *known == uuid)?;
    operations.iter().find(|(number, _)| *number == operation).map(|(_, name)| *name)
}

type Operations = &'static [(u16, &'static str)];

const SERVICES: &[(&str, &str, Operations)] = &[
    ("e1af8308-5d1f-11c9-91a4-08002b14a0fa", "epmapper", EPMAPPER),
    ("12345678-1234-abcd-ef00-01234567cffb", "netlogon", NETLOGON),
    ("e3514235-4b06-11d1-ab04-00c04fc2dcd2", "drsuapi", DRSUAPI),
    ("367abb81-9844-35f1-ad32-98f038001003", "svcctl", SVCCTL),
    ("12345778-1234-abcd-ef00-0123456789ac", "samr", SAMR),
    ("12345778-1234-abcd-ef00-0123456789ab", "lsarpc", LSARPC),
    ("4b324fc8-1670-01d3-1278-5a47bf6ee188", "srvsvc", SRVSVC),
    ("6bffd098-a112-3610-9833-46c3f87e345a", "wkssvc", WKSSVC),
    ("338cd001-2244-31f1-aaaa-900038001003", "winreg", WINREG),
    ("12345678-1234-abcd-ef00-0123456789ab", "spoolss", SPOOLSS),
    ("76f03f96-cdfd-44fc-a22c-64950a001209", "iremotewinspool", &[]),
    ("1ff70682-0a51-30e8-076d-740be8cee98b", "atsvc", ATSVC),
    ("378e52b0-c0a9-11cf-822d-00aa0051e40f", "sasec", &[]),
    ("86d35949-83c9-4044-b424-db363231fd0c", "ITaskSchedulerService", SCHEDULE),
    ("c681d488-d850-11d0-8c52-00c04fd90f7e", "efsrpc", EFSRPC),
    ("df1941c5-fe89-4e79-bf10-463657acf44d", "efsrpc", EFSRPC),
    ("4fc742e0-4a10-11cf-8273-00aa004ae673", "netdfs", NETDFS),
    ("82273fdc-e32a-18c3-3f78-827929dc23ea", "eventlog", EVENTLOG),
    ("f6beaff7-1e19-4fbb-9f8f-b89e2018337c", "eventlog6", &[]),
    ("a8e0653c-2744-4389-a61d-7373df8b2292", "FileServerVssAgent", VSS),
    ("894de0c0-0d55-11d3-a322-00c04fa321a1", "initshutdown", &[]),
    ("d95afe70-a6d5-4259-822e-2c84da1ddb0d", "WindowsShutdown", &[]),
    ("50abc2a4-574d-40b3-9d66-ee4fd5fba076", "dnsserver", &[]),
    ("3dde7c30-165d-11d1-ab8f-00805f14db40", "backupkey", &[]),
    ("99fcfec4-5260-101b-bbcb-00aa0021347a", "IObjectExporter", OXID),
    ("000001a0-0000-0000-c000-000000000046", "IRemoteSCMActivator", ACTIVATION),
    ("00000131-0000-0000-c000-000000000046", "IRemUnknown", REMUNKNOWN),
    ("00000143-0000-0000-c000-000000000046", "IRemUnknown2", REMUNKNOWN),
    ("4d9f4ab8-7d1c-11cf-861e-0020af6e7c57", "IActivation", &[]),
    ("f309ad18-d86a-11d0-a075-00c04fb68820", "IWbemLevel1Login", &[(6, "NTLMLogin")]),
    ("9556dc99-828c-11cf-a37e-00aa003240c7", "IWbemServices", WBEM),
    ("afa8bd80-7d8a-11c9-bef4-08002b102989", "mgmt", &[]),
    ("5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc", "msgsvcsend", &[]),
    ("17fdd703-1827-4e34-79d4-24a55c53bb37", "msgsvc", &[]),
    ("6bffd098-a112-3610-9833-012892020162", "browser", &[]),
    ("300f3532-38cc-11d0-a3f0-0020af6b0add", "trkwks", &[]),
    ("3919286a-b10c-11d0-9ba8-00c04fd92ef5", "dssetup", &[(0, "DsRolerGetPrimaryDomainInformation")]),
    ("8d9f4e40-a03d-11ce-8f69-08003e30051b", "pnp", &[]),
    ("45f52c28-7f9f-101a-b52b-08002b2efabe", "winsif", &[]),
    ("1544f5e0-613c-11d1-93df-00c04fd7bd09", "exchange_rfr", &[]),
    ("f5cc5a18-4264-101a-8c59-08002b2f8426", "exchange_nsp", &[]),
    ("a4f1db00-ca47-1067-b31f-00dd010662da", "exchange_mapi", &[]),
    ("dea00001-6c97-11d1-8271-00a02442df7d", "pnio_device", PNIO),
    ("dea00002-6c97-11d1-8271-00a02442df7d", "pnio_controller", PNIO),
];

const EPMAPPER: Operations = &[
    (0, "ept_insert"),
    (1, "ept_delete"),
    (2, "ept_lookup"),
    (3, "ept_map"),
    (4, "ept_lookup_handle_free"),
    (5, "ept_inq_object"),
    (6, "ept_mgmt_delete"),
];
const NETLOGON: Operations = &[
    (0, "NetrLogonUasLogon"),
    (2, "NetrLogonSamLogon"),
    (3, "NetrLogonSamLogoff"),
    (4, "NetrServerReqChallenge"),
    (5, "NetrServerAuthenticate"),
    (6, "NetrServerPasswordSet"),
    (7, "NetrDatabaseDeltas"),
    (8, "NetrDatabaseSync"),
    (11, "NetrGetDCName"),
    (13, "NetrGetAnyDCName"),
    (15, "NetrServerAuthenticate2"),
    (20, "DsrGetDcName"),
    (21, "NetrLogonGetCapabilities"),
    (26, "NetrServerAuthenticate3"),
    (27, "DsrGetDcNameEx"),
    (28, "DsrGetSiteName"),
    (29, "NetrLogonGetDomainInfo"),
    (30, "NetrServerPasswordSet2"),
    (31, "NetrServerPasswordGet"),
    (34, "DsrGetDcNameEx2"),
    (39, "NetrLogonSamLogonEx"),
    (40, "DsrEnumerateDomainTrusts"),
    (42, "NetrServerTrustPasswordsGet"),
    (45, "NetrLogonSamLogonWithFlags"),
];
const DRSUAPI: Operations = &[
    (0, "DRSBind"),
    (1, "DRSUnbind"),
    (2, "DRSReplicaSync"),
    (3, "DRSGetNCChanges"),
    (4, "DRSUpdateRefs"),
    (5, "DRSReplicaAdd"),
    (6, "DRSReplicaDel"),
    (8, "DRSVerifyNames"),
    (9, "DRSGetMemberships"),
    (12, "DRSCrackNames"),
    (13, "DRSWriteSPN"),
    (14, "DRSRemoveDsServer"),
    (16, "DRSDomainControllerInfo"),
    (17, "DRSAddEntry"),
    (19, "DRSGetReplInfo"),
    (20, "DRSAddSidHistory"),
];
const SVCCTL: Operations = &[
    (0, "CloseServiceHandle"),
    (1, "ControlService"),
    (2, "DeleteService"),
    (6, "QueryServiceStatus"),
    (11, "ChangeServiceConfigW"),
    (12, "CreateServiceW"),
    (14, "EnumServicesStatusW"),
    (15, "OpenSCManagerW"),
    (16, "OpenServiceW"),
    (17, "QueryServiceConfigW"),
    (19, "StartServiceW"),
    (24, "CreateServiceA"),
    (27, "OpenSCManagerA"),
    (28, "OpenServiceA"),
    (31, "StartServiceA"),
    (42, "EnumServicesStatusExW"),
    (45, "CreateServiceWOW64W"),
    (64, "OpenSCManager2"),
];
const SAMR: Operations = &[
    (0, "SamrConnect"),
    (1, "SamrCloseHandle"),
    (5, "SamrLookupDomainInSamServer"),
    (6, "SamrEnumerateDomainsInSamServer"),
    (7, "SamrOpenDomain"),
    (8, "SamrQueryInformationDomain"),
    (11, "SamrEnumerateGroupsInDomain"),
    (12, "SamrCreateUserInDomain"),
    (13, "SamrEnumerateUsersInDomain"),
    (15, "SamrEnumerateAliasesInDomain"),
    (16, "SamrGetAliasMembership"),
    (17, "SamrLookupNamesInDomain"),
    (18, "SamrLookupIdsInDomain"),
    (19, "SamrOpenGroup"),
    (25, "SamrGetMembersInGroup"),
    (27, "SamrOpenAlias"),
    (31, "SamrAddMemberToAlias"),
    (33, "SamrGetMembersInAlias"),
    (34, "SamrOpenUser"),
    (35, "SamrDeleteUser"),
    (36, "SamrQueryInformationUser"),
    (37, "SamrSetInformationUser"),
    (39, "SamrGetGroupsForUser"),
    (40, "SamrQueryDisplayInformation"),
    (44, "SamrGetUserDomainPasswordInformation"),
    (50, "SamrCreateUser2InDomain"),
    (55, "SamrUnicodeChangePasswordUser2"),
    (57, "SamrConnect2"),
    (58, "SamrSetInformationUser2"),
    (62, "SamrConnect4"),
    (64, "SamrConnect5"),
    (65, "SamrRidToSid"),
];
const LSARPC: Operations = &[
    (0, "LsarClose"),
    (2, "LsarEnumeratePrivileges"),
    (6, "LsarOpenPolicy"),
    (7, "LsarQueryInformationPolicy"),
    (11, "LsarEnumerateAccounts"),
    (13, "LsarEnumerateTrustedDomains"),
    (14, "LsarLookupNames"),
    (15, "LsarLookupSids"),
    (42, "LsarStorePrivateData"),
    (43, "LsarRetrievePrivateData"),
    (44, "LsarOpenPolicy2"),
    (45, "LsarGetUserName"),
    (46, "LsarQueryInformationPolicy2"),
    (57, "LsarLookupSids2"),
    (58, "LsarLookupNames2"),
    (68, "LsarLookupNames3"),
    (76, "LsarLookupSids3"),
    (77, "LsarLookupNames4"),
];
const SRVSVC: Operations = &[
    (8, "NetrConnectionEnum"),
    (9, "NetrFileEnum"),
    (12, "NetrSessionEnum"),
    (13, "NetrSessionDel"),
    (14, "NetrShareAdd"),
    (15, "NetrShareEnum"),
    (16, "NetrShareGetInfo"),
    (18, "NetrShareDel"),
    (21, "NetrServerGetInfo"),
    (23, "NetrServerDiskEnum"),
    (28, "NetrRemoteTOD"),
    (31, "NetprPathCanonicalize"),
    (36, "NetrShareEnumSticky"),
];
const WKSSVC: Operations =
    &[(0, "NetrWkstaGetInfo"), (2, "NetrWkstaUserEnum"), (5, "NetrWkstaTransportEnum")];
const WINREG: Operations = &[
    (0, "OpenClassesRoot"),
    (1, "OpenCurrentUser"),
    (2, "OpenLocalMachine"),
    (4, "OpenUsers"),
    (5, "BaseRegCloseKey"),
    (6, "BaseRegCreateKey"),
    (7, "BaseRegDeleteKey"),
    (8, "BaseRegDeleteValue"),
    (9, "BaseRegEnumKey"),
    (10, "BaseRegEnumValue"),
    (15, "BaseRegOpenKey"),
    (16, "BaseRegQueryInfoKey"),
    (17, "BaseRegQueryValue"),
    (20, "BaseRegSaveKey"),
    (22, "BaseRegSetValue"),
    (26, "BaseRegGetVersion"),
];
const SPOOLSS: Operations = &[
    (0, "RpcEnumPrinters"),
    (1, "RpcOpenPrinter"),
    (9, "RpcAddPrinterDriver"),
    (10, "RpcEnumPrinterDrivers"),
    (29, "RpcClosePrinter"),
    (65, "RpcRemoteFindFirstPrinterChangeNotificationEx"),
    (69, "RpcOpenPrinterEx"),
    (89, "RpcAddPrinterDriverEx"),
];
const ATSVC: Operations = &[(0, "NetrJobAdd"), (1, "NetrJobDel"), (2, "NetrJobEnum"), (3, "NetrJobGetInfo")];
const SCHEDULE: Operations = &[
    (0, "SchRpcHighestVersion"),
    (1, "SchRpcRegisterTask"),
    (2, "SchRpcRetrieveTask"),
    (3, "SchRpcCreateFolder"),
    (7, "SchRpcEnumTasks"),
    (12, "SchRpcRun"),
    (13, "SchRpcDelete"),
];
const EFSRPC: Operations = &[
    (0, "EfsRpcOpenFileRaw"),
    (4, "EfsRpcEncryptFileSrv"),
    (5, "EfsRpcDecryptFileSrv"),
    (6, "EfsRpcQueryUsersOnFile"),
    (7, "EfsRpcQueryRecoveryAgents"),
    (12, "EfsRpcFileKeyInfo"),
];
const NETDFS: Operations = &[(12, "NetrDfsAddStdRoot"), (13, "NetrDfsRemoveStdRoot"), (21, "NetrDfsEnumEx")];
const EVENTLOG: Operations = &[(0, "ElfrClearELFW"), (7, "ElfrOpenELW"), (10, "ElfrReadELW")];
const VSS: Operations = &[(8, "IsPathSupported"), (9, "IsPathShadowCopied")];
const OXID: Operations = &[
    (0, "ResolveOxid"),
    (1, "SimplePing"),
    (2, "ComplexPing"),
    (3, "ServerAlive"),
    (4, "ResolveOxid2"),
    (5, "ServerAlive2"),
];
const ACTIVATION: Operations = &[(3, "RemoteGetClassObject"), (4, "RemoteCreateInstance")];
const REMUNKNOWN: Operations = &[(3, "RemQueryInterface"), (4, "RemAddRef"), (5, "RemRelease")];
const WBEM: Operations =
    &[(6, "GetObject"), (20, "ExecQuery"), (22, "ExecNotificationQuery"), (24, "ExecMethod")];
const PNIO: Operations =
    &[(0, "Connect"), (1, "Release"), (2, "Read"), (3, "Write"), (4, "Control"), (5, "Read Implicit")];
